"""Our decode loop beside that of Hugging Face's `transformers`, on the same weights.

    python benchmarks/versus.py [--quick] [--rounds 12]

The shipped LM's transformer, its weights copied into a `LlamaForCausalLM` of the same shape.  Both are given one code
and produce TOKENS more, greedily, each code's embedding being the next input; text, voice and dwell, which Llama has
no place for, are left out of both.  There are fewer positions than our window of 192, which Llama does not have.  The
logits over the whole sequence must agree, and so must the codes.

* `generate`: `LlamaForCausalLM.generate` with its default `DynamicCache`.
* `forward`: the same model and cache in the plainest loop of our own, without what `generate` does around it.

In turns, one thread.  `transformers` is no dependency of ours: `pip install transformers`.  The other peer, a server
that speaks one at a time, is an arm of `capacity.py`.
"""

import argparse
import importlib.metadata
import importlib.util
from collections.abc import Callable
from statistics import median
from typing import Any

import torch
from lap import Lap, middle, timed, use_one_thread
from report import conclude, table
from torch import Tensor, nn

from stream_server.models.lark.lm import FIRST
from stream_server.models.lark.model import Lark, load

TOKENS = 160  # 6.4 s of speech
AGREEMENT = 1e-4  # between logits, absolute
FLOORS = {"times_generate": 2, "logits_difference": AGREEMENT}
Peer = Any  # a LlamaForCausalLM, where there is one


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="8 or more for a figure that counts")
    parser.add_argument("--quick", action="store_true", help="forty tokens, two rounds, nothing kept")
    options = parser.parse_args()
    if importlib.util.find_spec("transformers") is None:
        raise SystemExit(
            "transformers is not installed, and there is nothing to compare with: pip install transformers"
        )
    count, rounds = (40, 2) if options.quick else (TOKENS, options.rounds)
    use_one_thread()
    with torch.inference_mode():
        figures = contest(load(), count, rounds)
    rows = [[name, value] for name, value in figures.items()]
    table(f"{count} tokens, {rounds} rounds", ["", "value"], rows)
    conclude("versus", {"model": "lark", "tokens": count, "rounds": rounds} | figures, FLOORS, keep=not options.quick)


def contest(model: Lark, count: int, rounds: int) -> dict[str, Any]:
    peer = llama(model)
    loops: dict[str, Callable[[], list[int]]] = {
        "ours": lambda: ours(model, count),
        "generate": lambda: generated(peer, count),
        "forward": lambda: forwarded(peer, count),
    }
    codes = {name: loop() for name, loop in loops.items()}  # the first calls, which cost more
    laps: dict[str, list[Lap]] = {name: [] for name in loops}
    for _ in range(rounds):
        for name, loop in loops.items():
            laps[name].append(timed(loop))
    return {
        "logits_difference": difference(model, peer, codes["ours"]),
        "same_codes": codes["ours"] == codes["generate"] == codes["forward"],
        **{f"{name}_ms_a_token": middle(taken).wall * 1000 / count for name, taken in laps.items()},
        **{f"times_{name}": gain(laps[name], laps["ours"]) for name in ("generate", "forward")},
        "times_generate_cpu": median(a.cpu / b.cpu for a, b in zip(laps["generate"], laps["ours"])),
        "transformers": importlib.metadata.version("transformers"),
    }


def gain(theirs: list[Lap], our: list[Lap]) -> float:
    return median(a.wall / b.wall for a, b in zip(theirs, our))


# Ours.


def ours(model: Lark, count: int) -> list[int]:
    """Codes, greedily."""
    cache, code, codes = model.lm.transformer.allocate(1, count), FIRST, []
    for position in range(count):
        code = int(model.step(model.codes[code][None], [0], [position], cache)[0, :FIRST].argmax())
        codes.append(code)
    return codes


def our_logits(model: Lark, codes: list[int]) -> Tensor:
    """[T, FIRST] as the step gives them, one position after the other."""
    cache = model.lm.transformer.allocate(1, len(codes))
    steps = (model.step(model.codes[code][None], [0], [at], cache)[0, :FIRST].clone() for at, code in enumerate(codes))
    return torch.stack(list(steps))


# Theirs.


def llama(model: Lark) -> Peer:
    """The same shape and the same numbers under Llama's names."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape, vocabulary = model.lm.config, len(model.codes)
    peer = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=shape.width,
            intermediate_size=shape.hidden,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            num_key_value_heads=shape.kv_heads,
            rms_norm_eps=1e-5,
            max_position_embeddings=shape.window,
            bos_token_id=FIRST,
            eos_token_id=None,
            pad_token_id=FIRST,
        )
    ).eval()
    peer.lm_head = nn.Linear(shape.width, FIRST)  # with the bias that ours has
    head, bias = model.lm.head(model.codes)
    peer.lm_head.load_state_dict({"weight": head[:FIRST], "bias": bias[:FIRST]})
    peer.model.load_state_dict(renamed(model))
    return peer


def renamed(model: Lark) -> dict[str, Tensor]:
    weights = {"embed_tokens.weight": model.codes, "norm.weight": model.lm.transformer.norm.weight}
    for number, block in enumerate(model.lm.transformer.blocks):
        attention, wide, name = block.attention, block.feed_forward, f"layers.{number}"
        q, k, v = attention.qkv.weight.split(
            [n * attention.head_dim for n in (attention.heads, attention.kv_heads, attention.kv_heads)]
        )
        gate, up = wide.gate_up.weight.chunk(2)
        weights |= {
            f"{name}.self_attn.{part}_proj.weight": w for part, w in zip("qkvo", (q, k, v, attention.out.weight))
        }
        weights |= {
            f"{name}.mlp.{part}_proj.weight": w for part, w in zip(("gate", "up", "down"), (gate, up, wide.down.weight))
        }
        weights[f"{name}.input_layernorm.weight"] = block.attention_norm.weight
        weights[f"{name}.post_attention_layernorm.weight"] = block.feed_forward_norm.weight
    return weights


def generated(peer: Peer, count: int) -> list[int]:
    first = torch.tensor([[FIRST]])
    options = {"max_new_tokens": count, "min_new_tokens": count, "do_sample": False, "use_cache": True}
    return peer.generate(first, attention_mask=torch.ones_like(first), **options)[0, 1:].tolist()


def forwarded(peer: Peer, count: int) -> list[int]:
    from transformers import DynamicCache

    cache, code, codes = DynamicCache(config=peer.config), FIRST, []
    for _ in range(count):
        logits = peer(input_ids=torch.tensor([[code]]), past_key_values=cache, use_cache=True).logits
        code = int(logits[0, -1].argmax())
        codes.append(code)
    return codes


def difference(model: Lark, peer: Peer, codes: list[int]) -> float:
    """The largest between our logits step by step and theirs of the whole sequence at once."""
    said = [FIRST, *codes[:-1]]
    return float((our_logits(model, said) - peer(input_ids=torch.tensor([said])).logits[0]).abs().max())


if __name__ == "__main__":
    main()
