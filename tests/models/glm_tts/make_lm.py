"""A random language model in the release's layout: the folder `llm`, of any width, whole or in shards."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from stream_server.models.glm_tts.config import SpeechTokens

TEXT, GAP, PADDING = 40, 3, 7  # ids of text; between the marks and speech; behind speech


def speech_tokens(codes: int = 64, text: int = TEXT) -> SpeechTokens:
    first = text + 3 + GAP
    return SpeechTokens(pad=text, stop=text + 1, begin=text + 2, first=first, last=first + codes - 1)


def make_lm(
    folder: Path,
    *,
    width: int = 48,
    layers: int = 2,
    heads: int = 4,
    kv_heads: int = 2,
    head_dim: int | None = None,
    hidden: int = 56,
    codes: int = 64,
    text: int = TEXT,
    positions: int = 512,
    theta: float = 10_000.0,
    eps: float = 1e-5,
    tied: bool | None = True,
    shards: int = 1,
    prefix: str = "",
    dtype: torch.dtype = torch.float32,
    seed: int = 0,
) -> SpeechTokens:
    """Writes config.json and the weights; → the tokens.  tied None: the config does not say, and there is no head."""
    tokens = speech_tokens(codes, text)
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": width,
        "intermediate_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": tokens.last + 1 + PADDING,
        "max_position_embeddings": positions,
        "rms_norm_eps": eps,
        "rope_theta": theta,
        **({} if head_dim is None else {"head_dim": head_dim}),
        **({} if tied is None else {"tie_word_embeddings": tied}),
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    tensors = random_tensors(config, seed, dtype)
    save(folder, {prefix + name: tensors[name] for name in tensors}, shards)
    return tokens


def random_tensors(config: dict, seed: int, dtype: torch.dtype = torch.float32) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    width, hidden = config["hidden_size"], config["intermediate_size"]
    head_dim = config.get("head_dim", width // config["num_attention_heads"])
    queries, keys = config["num_attention_heads"] * head_dim, config["num_key_value_heads"] * head_dim

    def weight(rows: int, columns: int, times: float = 1.0) -> torch.Tensor:
        return torch.randn(rows, columns, generator=random).mul_(times * columns**-0.5).to(dtype)

    def norm() -> torch.Tensor:
        return (torch.rand(width, generator=random) + 0.5).to(dtype)

    found = {"model.embed_tokens.weight": weight(config["vocab_size"], width, 1.5), "model.norm.weight": norm()}
    for layer in range(config["num_hidden_layers"]):
        found |= {
            f"model.layers.{layer}.{name}": tensor
            for name, tensor in {
                "input_layernorm.weight": norm(),
                "self_attn.q_proj.weight": weight(queries, width, 2),
                "self_attn.k_proj.weight": weight(keys, width, 2),
                "self_attn.v_proj.weight": weight(keys, width),
                "self_attn.o_proj.weight": weight(width, queries),
                "post_attention_layernorm.weight": norm(),
                "mlp.gate_proj.weight": weight(hidden, width),
                "mlp.up_proj.weight": weight(hidden, width),
                "mlp.down_proj.weight": weight(width, hidden),
            }.items()
        }
    if config.get("tie_word_embeddings") is False:
        found["lm_head.weight"] = weight(config["vocab_size"], width, 2)
    return found


def save(folder: Path, tensors: dict[str, torch.Tensor], shards: int) -> None:
    if shards == 1:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    places = {name: f"model-{i % shards + 1:05}-of-{shards:05}.safetensors" for i, name in enumerate(sorted(tensors))}
    for file in sorted(set(places.values())):
        save_file({name: tensors[name] for name in places if places[name] == file}, folder / file)
    index = {"metadata": {"total_size": sum(t.nbytes for t in tensors.values())}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
