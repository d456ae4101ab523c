"""The speech language model: a Llama over one vocabulary of text and speech, of whose logits only speech is computed.

A sequence is the prompt's text, the text to be spoken, a mark, and the codes so far, each an id.  All ids but the last
are written into the cache by `prefill`, in pieces; the last one, like every code drawn after it, goes through `logits`
in the company of others.  Knows no text, no voices and no sampling.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

from stream_server.errors import TextTooLong
from stream_server.models.glm_tts.config import LMConfig, SpeechTokens, read_lm_config
from stream_server.models.glm_tts.convert import Part
from stream_server.models.glm_tts.stored import Shape
from stream_server.models.glm_tts.weights import Checkpoint, Table, find
from stream_server.nn.captured import SPARE, CapturedStep
from stream_server.nn.decode_step import DecodeStep
from stream_server.nn.kv_cache import KVCache
from stream_server.nn.norm import RMSNorm
from stream_server.nn.prefill import prefill
from stream_server.nn.transformer import Block

PIECE = 64  # ids of a prompt written at once: what stands before other rows' next step
LEAST, MOST = 2.0, 20.0  # codes for each id of text
CONFIG, FILES = "config.json", ("model.safetensors", "model.safetensors.index.json")
PREFIX = "llama."  # of names that the release's own wrapper saved
EMBEDDING, HEAD, NORM = "model.embed_tokens.weight", "lm_head.weight", "model.norm.weight"


class SpeechLM:
    """Logits' columns are the codes, then the stop: `stop` is its column.  Immutable but for the step's buffers."""

    def __init__(self, config: LMConfig, tokens: SpeechTokens, table: Tensor, step: DecodeStep, device: str) -> None:
        """table [vocabulary, width] embeds; step has a column a code and one for the stop, or the whole vocabulary."""
        self.config, self.tokens, self.device = config, tokens, device
        self.positions = step.window
        self.table = table.to(device)
        self.plain = step.to(device)
        self.step = step if device == "cpu" else CapturedStep(step)

    @property
    def stop(self) -> int:
        return self.tokens.codes

    def allocate(self, slots: int) -> KVCache:
        if isinstance(self.step, DecodeStep):
            return self.step.allocate(slots)
        cache = self.plain.allocate(slots + SPARE, self.device)
        with torch.inference_mode():
            self.step.prepare(cache)
        return cache

    def prefill(self, ids: Sequence[int], slot: int, start: int, cache: KVCache) -> int:
        """One more piece of a prompt into a slot, from `start` on: → where the next begins, its last id's at the end.

        Pieces begin at multiples of PIECE, so that what a row comes to does not depend on how it was called.
        """
        stop = min(start + PIECE, len(ids) - 1)
        if start < stop:
            prefill(self.plain, self.embed(ids[start:stop]), slot, start, cache)
        return max(start, stop)

    def recompute(self, ids: Sequence[int], slot: int, cache: KVCache) -> None:
        """All that stands before a sequence's last id written anew, at once: what a step costs that keeps nothing."""
        if len(ids) > 1:
            prefill(self.plain, self.embed(ids[:-1]), slot, 0, cache)

    def logits(self, ids: Sequence[int], slots: list[int], positions: list[int], cache: KVCache) -> Tensor:
        """One id a row → float32 [B, codes + 1] on the device, good until the next call; writes the cache.

        ValueError where a position lies beyond a row.
        """
        if max(positions) >= self.positions:
            raise ValueError(f"position {max(positions)} of a row of {self.positions}")
        return self.step(self.embed(ids), slots, positions, cache)

    def embed(self, ids: Sequence[int]) -> Tensor:
        return self.table[torch.tensor(ids, device=self.device)]


def lengths(prompt: int, text: int, positions: int) -> tuple[int, int]:
    """Fewest and most codes for so many ids of text, after a prompt of so many ids, the text's among them.

    No more than a row of so many positions has room for; TextTooLong where that is less than the fewest.
    """
    least, room = int(LEAST * text), positions - prompt
    if room < max(least, 1):
        raise TextTooLong(
            f"text: {text} ids after {prompt - text} others, and at least {least} codes: more than a sequence holds",
            field="text",
            limit=positions,
        )
    return least, min(int(MOST * text), room)


def load(
    folder: Path,
    tokens: SpeechTokens,
    dtype: torch.dtype = torch.float32,
    positions: int | None = None,
    device: str = "cpu",
    whole: bool = False,
) -> SpeechLM:
    """The model of the release's folder `llm`.  ConfigError names the file and what is wrong with it.

    positions: of one sequence, as many as the model was made for where not given; whole: logits over the vocabulary.
    Weights are read layer by layer: there is never more than one layer too many in memory.
    """
    config = read_lm_config(folder / CONFIG)
    tokens.check(config.vocabulary)
    checkpoint = Checkpoint(find(folder, FILES), PREFIX)
    checkpoint.expect(table_of(config))
    with torch.no_grad():
        embedding = checkpoint.tensor(EMBEDDING)
        rows = (
            torch.arange(config.vocabulary)
            if whole
            else torch.tensor([*range(tokens.first, tokens.last + 1), tokens.stop])
        )
        tied = config.tied or HEAD not in checkpoint.shapes
        head = (embedding if tied else checkpoint.tensor(HEAD))[rows]
        embedding = embedding.to(dtype)
        norm = RMSNorm(config.width, config.eps)
        norm.weight.copy_(checkpoint.tensor(NORM))
        most = min(positions or config.positions, config.positions)
        step = DecodeStep(read_blocks(config, checkpoint), norm, head, torch.zeros(len(rows)), most, dtype)
    return SpeechLM(config, tokens, embedding, step, device)


def read_blocks(config: LMConfig, checkpoint: Checkpoint) -> Iterator[Block]:
    for layer in range(config.layers):
        tensors = {name: checkpoint.tensor(place_of(layer, name)) for name in layer_shapes(config)}
        with torch.device("meta"):  # its weights are about to be replaced
            block = Block(
                config.width,
                config.heads,
                config.kv_heads,
                config.hidden,
                config.positions,
                head_dim=config.head_dim,
                theta=config.theta,
                eps=config.eps,
            )
        block.load_state_dict(block_weights(tensors), assign=True)
        yield block


def block_weights(layer: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A layer's tensors under a `Block`'s names."""

    def joined(*names: str) -> Tensor:
        return torch.cat([layer[f"{name}.weight"] for name in names])

    return {
        "attention_norm.weight": joined("input_layernorm"),
        "attention.qkv.weight": joined("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
        "attention.out.weight": joined("self_attn.o_proj"),
        "feed_forward_norm.weight": joined("post_attention_layernorm"),
        "feed_forward.gate_up.weight": joined("mlp.gate_proj", "mlp.up_proj"),
        "feed_forward.down.weight": joined("mlp.down_proj"),
    }


def layer_shapes(config: LMConfig) -> dict[str, Shape]:
    width, hidden = config.width, config.hidden
    queries, keys = config.heads * config.head_dim, config.kv_heads * config.head_dim
    return {
        "input_layernorm.weight": (width,),
        "self_attn.q_proj.weight": (queries, width),
        "self_attn.k_proj.weight": (keys, width),
        "self_attn.v_proj.weight": (keys, width),
        "self_attn.o_proj.weight": (width, queries),
        "post_attention_layernorm.weight": (width,),
        "mlp.gate_proj.weight": (hidden, width),
        "mlp.up_proj.weight": (hidden, width),
        "mlp.down_proj.weight": (width, hidden),
    }


def place_of(layer: int, name: str) -> str:
    return f"model.layers.{layer}.{name}"


def table_of(config: LMConfig) -> Table:
    """Hugging Face's names.  The head may be missing unless the config says that it is not the embedding."""
    table = (config.vocabulary, config.width)
    layers = range(config.layers)
    shapes = {
        EMBEDDING: table,
        **{place_of(layer, name): shape for layer in layers for name, shape in layer_shapes(config).items()},
        NORM: (config.width,),
        HEAD: table,
    }
    return Table(shapes, frozenset() if config.tied is False else frozenset({HEAD}))


LM_PART = Part(
    "llm",
    FILES,
    lambda folder, _: table_of(read_lm_config(folder / CONFIG)),
    copied=(CONFIG,),
    prefix=PREFIX,
)
