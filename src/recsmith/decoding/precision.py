"""Which weights answer fastest on this machine, found by trying them: as they are, packed, or packed in bfloat16."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import nn

from recsmith.decoding.speculation import compare_lists
from recsmith.nn.packed_linear import Weights, can_pack, packed
from recsmith.protocols import RankedLists

AS_TRAINED = "as trained"


_PACKED: dict[str, Weights] = {"packed fp32": "fp32", "packed bf16": "bf16"}


@dataclass(frozen=True)
class Tried:
    """What a choice of weights was measured to do."""

    seconds: float
    """Median time of one call."""
    overlap: float
    """Mean share of the items of the trained model's lists that these lists hold."""


def fastest(
    model: nn.Module, answer: Callable[[nn.Module], RankedLists], *, least_overlap: float = 0.99, rounds: int = 5
) -> tuple[nn.Module, str, dict[str, Tried]]:
    """The model to answer with, the name of its weights, and what was measured of all that were tried.

    `answer` gives the lists of a sample of rows with the model that it is handed; its time is what counts. Chosen is the fastest whose
    lists hold at least `least_overlap` of the items of the trained model's. Only the weights of linear layers on the CPU are packed.
    """
    names = [AS_TRAINED]
    layers = any(type(module) is nn.Linear for module in model.modules())
    if layers and can_pack() and all(parameter.device.type == "cpu" for parameter in model.parameters()):
        names += _PACKED
    models = {name: with_weights(model, name) for name in names}
    exact = answer(model)
    overlaps = {name: compare_lists(answer(candidate), exact) for name, candidate in models.items()}
    times: dict[str, list[float]] = {name: [] for name in models}
    for _ in range(rounds):
        for name, candidate in models.items():
            begin = time.perf_counter()
            answer(candidate)
            times[name].append(time.perf_counter() - begin)
    tried = {name: Tried(float(np.median(times[name])), overlaps[name]) for name in models}
    close = [name for name in models if name == AS_TRAINED or tried[name].overlap >= least_overlap]
    chosen = min(close, key=lambda name: tried[name].seconds)
    return models[chosen], chosen, tried


def with_weights(model: nn.Module, name: str) -> nn.Module:
    """The model with weights of a name that `fastest` gave: itself as trained, else a copy that only answers."""
    return model if name == AS_TRAINED else packed(model, _PACKED[name])
