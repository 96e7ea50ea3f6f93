"""Prompts that begin alike are read once, and some of their tokens may be vectors of another model.

Letters of the shapes: `prompt` = prompts of a call, `place` = tokens of the longest, `way` = ways in which all prompts go on.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from recsmith.errors import BackendError, ConfigError
from recsmith.tuning_language.network import LanguageNetwork, NetworkConfig
from recsmith.tuning_language.tuner import TunerConfig

_SHARED, _NOTHING = 0, -1

Vectors = Callable[[Tensor], Tensor]
"""Numbers of slots int64 `[slot]` → what the language model reads there, `[slot, dim]`."""


@dataclass(frozen=True)
class Prompt:
    """A beginning, and the ways in which it may go on; each way is read behind the beginning as if the others were not there."""

    shared: Sequence[int]
    """Tokens of the beginning; those from `first_slot(network)` on are slots, where vectors are read."""
    ways: Sequence[Sequence[int]]
    """Tokens of each way, at least one."""

    @classmethod
    def of(cls, rows: Sequence[Sequence[int]]) -> Prompt:
        """Whole rows of tokens, parted where they begin to differ."""
        longest = min(map(len, rows)) - 1
        shared = next((place for place in range(longest) if len({row[place] for row in rows}) > 1), longest)
        return cls(rows[0][:shared], [row[shared:] for row in rows])


def can_share(network: NetworkConfig, tuner: TunerConfig) -> bool:
    """Whether such a language model can be asked this way: decoder-only, without virtual tokens."""
    return not tuner.virtual_tokens and not (network.folder is None and network.kind == "t5")


def require_sharing(network: NetworkConfig, tuner: TunerConfig, *, who: str) -> None:
    """Raises `ConfigError` for a language model that can be seen from the settings not to be one."""
    if not can_share(network, tuner):
        raise ConfigError(f"{who} needs a decoder-only model without virtual tokens; use kind = causal and method = full, lora or adapter")


def require_decoder_only(network: LanguageNetwork, *, who: str) -> None:
    """Raises `ConfigError` for an encoder–decoder from a folder."""
    if network.reads_first:
        raise ConfigError(f"`{network.config.folder}` is an encoder–decoder; {who} needs a decoder-only model")


def first_slot(network: LanguageNetwork) -> int:
    """The number of the first token that stands for a vector: behind all tokens of the vocabulary."""
    return int(network.model.get_input_embeddings().weight.shape[0])


def next_states(network: LanguageNetwork, prompts: Sequence[Prompt], vectors: Vectors | None = None) -> list[Tensor]:
    """The state behind each token of each way, and in front the state behind the beginning: per way float32 `[1 + token, dim]`.

    `vectors` are read where a token is `first_slot(network)` or above. A way's first state means nothing where the beginning is empty.
    """
    return _by_way(_read(network, prompts, vectors).last_hidden_state.float(), prompts)


def layer_states(
    network: LanguageNetwork, prompts: Sequence[Prompt], layers: Sequence[int], vectors: Vectors | None = None
) -> list[list[Tensor]]:
    """As `next_states`, behind each of these layers of the language model: 0 is what its first layer reads, -1 what its last one says."""
    states = _read(network, prompts, vectors, layers=True).hidden_states
    return [_by_way(states[layer].float(), prompts) for layer in layers]


def choice_logits(network: LanguageNetwork, prompts: Sequence[Prompt], choices: Sequence[int], vectors: Vectors | None = None) -> Tensor:
    """Logits of some tokens behind each way, `[way, choice]`, ways of all prompts in order."""
    last = torch.stack([states[-1] for states in next_states(network, prompts, vectors)])
    return _head(network, last, torch.tensor(choices, device=last.device))


def way_likelihoods(network: LanguageNetwork, prompts: Sequence[Prompt], vectors: Vectors | None = None) -> Tensor:
    """Mean log p per token of each way given the beginning, in nats, `[way]`; ways are of words alone."""
    states = next_states(network, prompts, vectors)
    ways = [way for prompt in prompts for way in prompt.ways]
    logits = _head(network, torch.cat([one[:-1] for one in states]))
    wanted = torch.tensor([token for way in ways for token in way], device=logits.device)
    losses = functional.cross_entropy(logits, wanted, reduction="none")
    return torch.stack([-part.mean() for part in losses.split([len(way) for way in ways])])


def _read(network: LanguageNetwork, prompts: Sequence[Prompt], vectors: Vectors | None, *, layers: bool = False) -> Any:
    """What the language model answers to the prompts in one reading; states of all layers with `layers`."""
    ids, positions, groups = (torch.from_numpy(one).to(network.device) for one in _laid_out(network, prompts))
    causal = torch.ones(ids.shape[1], ids.shape[1], dtype=torch.bool, device=ids.device).tril()
    seen = causal & ((groups[:, :, None] == groups[:, None, :]) | (groups == _SHARED)[:, None, :])
    embedded = _embedded(network, ids, vectors)
    mask = torch.zeros_like(seen, dtype=embedded.dtype).masked_fill(~seen, torch.finfo(embedded.dtype).min)[:, None]
    return network.model.base_model(inputs_embeds=embedded, attention_mask=mask, position_ids=positions, output_hidden_states=layers)


def _by_way(states: Tensor, prompts: Sequence[Prompt]) -> list[Tensor]:
    """`[prompt, place, dim]` → per way `[1 + token, dim]`, the state behind the beginning in front."""
    found = []
    for row, prompt in enumerate(prompts):
        start = len(prompt.shared)
        for way in prompt.ways:
            found.append(torch.cat([states[row, len(prompt.shared) - 1, None], states[row, start : start + len(way)]]))
            start += len(way)
    return found


def _head(network: LanguageNetwork, states: Tensor, tokens: Tensor | None = None) -> Tensor:
    head = network.model.get_output_embeddings()
    weight, bias = head.weight, getattr(head, "bias", None)
    if tokens is not None:
        weight, bias = weight[tokens], None if bias is None else bias[tokens]
    return functional.linear(states.to(weight.dtype), weight, bias).float()


def _embedded(network: LanguageNetwork, ids: Tensor, vectors: Vectors | None) -> Tensor:
    """What the first layer reads, `[prompt, place, dim]`."""
    first, words = first_slot(network), network.model.get_input_embeddings()
    slots = ids >= first
    embedded: Tensor = words(ids.masked_fill(slots, network.end))
    if vectors is None or not slots.any():
        return embedded
    return embedded.index_put((slots,), vectors(ids[slots] - first).to(embedded.dtype))


def _laid_out(network: LanguageNetwork, prompts: Sequence[Prompt]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Tokens, positions and groups, int64 `[prompt, place]`: group 0 is the beginning, w + 1 the way w, -1 padding."""
    width = max(len(prompt.shared) + sum(map(len, prompt.ways)) for prompt in prompts)
    ids = np.full((len(prompts), width), network.facts["pad"], dtype=np.int64)
    positions, groups = np.zeros_like(ids), np.full_like(ids, _NOTHING)
    for row, prompt in enumerate(prompts):
        start = len(prompt.shared)
        ids[row, :start], positions[row, :start], groups[row, :start] = prompt.shared, np.arange(start), _SHARED
        for number, way in enumerate(prompt.ways):
            here = slice(start, start + len(way))
            ids[row, here], groups[row, here] = way, number + 1
            positions[row, here] = len(prompt.shared) + np.arange(len(way))
            start += len(way)
    _require_room(network, int(positions.max()) + 1)
    return ids, positions, groups


def _require_room(network: LanguageNetwork, used: int) -> None:
    room = getattr(network.model.config, "max_position_embeddings", None) or network.config.longest
    if used > room:
        raise BackendError(
            f"a question with its answer has {used} tokens, but the language model holds {room}; tell fewer items or shorter texts"
        )
