"""A Llama written as the specification reads, whole sequences only: what the fast one is held against.

Shares no code with it.
"""

import json
from pathlib import Path

import torch
from safetensors.torch import load_file


class PlainLM:
    def __init__(self, folder: Path) -> None:
        self.config = json.loads((folder / "config.json").read_text())
        self.w = {
            name.removeprefix("llama."): t
            for file in folder.glob("*.safetensors")
            for name, t in load_file(file).items()
        }
        self.head = self.w.get("lm_head.weight", self.w["model.embed_tokens.weight"])

    def norm(self, x: torch.Tensor, name: str) -> torch.Tensor:
        return x / (x.pow(2).mean(-1, keepdim=True) + self.config["rms_norm_eps"]).sqrt() * self.w[name + ".weight"]

    def rotate(self, x: torch.Tensor) -> torch.Tensor:
        """[T, heads, D]: channel i turns with channel i + D / 2."""
        T, _, D = x.shape
        out = torch.empty_like(x)
        for i in range(D // 2):
            turn = torch.arange(T) * self.config["rope_theta"] ** (-2 * i / D)
            cos, sin = turn.cos()[:, None], turn.sin()[:, None]
            a, b = x[:, :, i], x[:, :, i + D // 2]
            out[:, :, i], out[:, :, i + D // 2] = a * cos - b * sin, b * cos + a * sin
        return out

    def attend(self, x: torch.Tensor, at: str) -> torch.Tensor:
        T = len(x)
        heads, groups = self.config["num_attention_heads"], self.config["num_key_value_heads"]
        q, k, v = (
            (x @ self.w[f"{at}.{p}_proj.weight"].T).view(T, n, -1) for p, n in zip("qkv", (heads, groups, groups))
        )
        q, k = self.rotate(q), self.rotate(k)
        hidden = torch.full((T, T), -torch.inf).triu(1)
        heard = []
        for head in range(heads):
            group = head // (heads // groups)
            scores = q[:, head] @ k[:, group].T / q.shape[-1] ** 0.5 + hidden
            heard.append(scores.softmax(-1) @ v[:, group])
        return torch.cat(heard, dim=-1) @ self.w[f"{at}.o_proj.weight"].T

    def logits(self, ids: list[int]) -> torch.Tensor:
        """[T, vocabulary]."""
        x = self.w["model.embed_tokens.weight"][ids]
        for layer in range(self.config["num_hidden_layers"]):
            at = f"model.layers.{layer}"
            x = x + self.attend(self.norm(x, f"{at}.input_layernorm"), f"{at}.self_attn")
            h = self.norm(x, f"{at}.post_attention_layernorm")
            gate, up = h @ self.w[f"{at}.mlp.gate_proj.weight"].T, h @ self.w[f"{at}.mlp.up_proj.weight"].T
            x = x + (gate / (1 + (-gate).exp()) * up) @ self.w[f"{at}.mlp.down_proj.weight"].T
        return self.norm(x, "model.norm") @ self.head.T
