"""What of a language model learns: all of it, or small parts beside frozen weights.

Written on `nn.low_rank`, `nn.quantised_linear` and `nn.virtual_tokens` instead of peft and bitsandbytes: the methods are a few hundred
lines on any transformers model, save as plain tensors with the run, and spare an import of three seconds with accelerate behind it.
"""

from __future__ import annotations

from typing import Any, Literal, Self, cast

from pydantic import Field, model_validator
from torch import nn

from recsmith.config import Config
from recsmith.errors import UserError
from recsmith.nn.low_rank import Bottleneck, LowRank
from recsmith.nn.quantised_linear import quantise, restore
from recsmith.nn.virtual_tokens import VirtualTokens

_OUT = ("o_proj", "down_proj", "o", "wo", "out_proj", "fc2", "dense_4h_to_h")
"""Names under which transformers knows the last map of an attention or feed-forward layer."""


class TunerConfig(Config):
    """Which weights of a language model learn."""

    method: Literal["full", "lora", "adapter", "prompt", "p-tuning", "prefix"] = "full"
    """full: all; lora: low-rank updates; adapter: bottlenecks behind layers; prompt, p-tuning (written by a small network) and prefix:
    virtual tokens before the input."""
    base: Literal["float", "nf4", "int8"] = "float"
    """lora: how the frozen linear maps are kept; nf4 (QLoRA: 4-bit NormalFloat) takes a seventh of the memory, int8 a quarter."""
    rank: int = Field(8, ge=1)
    """lora: rank of an update."""
    scale: float = Field(16.0, gt=0)
    """lora: strength of an update, divided by the rank."""
    width: int = Field(16, ge=1)
    """adapter: width of the bottleneck."""
    tokens: int = Field(10, ge=1)
    """prompt, p-tuning and prefix: number of virtual tokens."""
    frozen_tokens: int = Field(0, ge=0)
    """lora: virtual tokens before the input besides, which learn only where a model says so (DELRec)."""
    embeddings: bool = False
    """All but full: whether input embeddings and output head learn too, as new tokens of items need it."""
    maps: list[str] = []
    """lora and adapter: last part of the names of the linear maps, such as q_proj; empty: all (lora), the last of each layer (adapter)."""

    @property
    def virtual_tokens(self) -> bool:
        """Whether the language model reads virtual tokens before its input."""
        return self.method in ("prompt", "p-tuning", "prefix") or self.frozen_tokens > 0

    @model_validator(mode="after")
    def _quantised_under_updates(self) -> Self:
        if self.base != "float" and self.method != "lora":
            raise ValueError(f"base = {self.base} is for low-rank updates; set method = lora instead of {self.method}, or base = float")
        return self


def tuned(model: nn.Module, config: TunerConfig) -> nn.Module:
    """The model with the method's parts put in (in place, for a wrapper: around it); only they require gradients, but for "full".

    Raises `UserError` where the model has nothing that the method could work on.
    """
    if config.method == "full":
        return model
    model.requires_grad_(False)
    if config.embeddings:
        for part in (cast(Any, model).get_input_embeddings(), cast(Any, model).get_output_embeddings()):
            part.requires_grad_(True)
    if config.method in ("prompt", "p-tuning", "prefix"):
        return VirtualTokens(model, count=config.tokens, kind=config.method)
    chosen = _chosen(model, config)
    for name in chosen:
        parent, _, leaf = name.rpartition(".")
        base = cast(nn.Linear, model.get_submodule(name))
        part = LowRank(base, rank=config.rank, scale=config.scale) if config.method == "lora" else Bottleneck(base, width=config.width)
        setattr(model.get_submodule(parent), leaf, part)
    if config.base != "float":
        quantise(model, config.base, spare=cast(Any, model).get_output_embeddings())
    return _behind_frozen_tokens(model, config.frozen_tokens) if config.method == "lora" and config.frozen_tokens else model


def _behind_frozen_tokens(model: nn.Module, count: int) -> nn.Module:
    made = VirtualTokens(model, count=count, kind="prompt")
    made.virtual.requires_grad_(False)
    return made


def merge(model: nn.Module) -> nn.Module:
    """Fold low-rank updates into their maps, in place: the model then answers the same without them.

    Maps that were kept in few bits become float32 at their full size, with the rounded weights that the updates learned beside.
    Raises `UserError` where there are none (adapters, prompts and prefixes cannot be folded into frozen weights).
    """
    parts = [(name, module) for name, module in model.named_modules() if isinstance(module, LowRank)]
    if not parts:
        raise UserError("there is nothing to merge: only low-rank updates (method = lora) fold into the weights that they stand beside")
    restore(model)
    for name, part in parts:
        parent, _, leaf = name.rpartition(".")
        setattr(model.get_submodule(parent), leaf, part.merged())
    return model


def learning(model: nn.Module) -> dict[str, int]:
    """How many numbers each learning parameter holds."""
    return {name: parameter.numel() for name, parameter in model.named_parameters() if parameter.requires_grad}


def _chosen(model: nn.Module, config: TunerConfig) -> list[str]:
    head = cast(Any, model).get_output_embeddings()
    linears = [name for name, module in model.named_modules() if isinstance(module, nn.Linear) and module is not head]
    wanted = config.maps or (list(_OUT) if config.method == "adapter" else [])
    chosen = [name for name in linears if not wanted or name.rpartition(".")[2] in wanted]
    if not chosen:
        known = sorted({name.rpartition(".")[2] for name in linears})
        raise UserError(
            f"the language model has no linear map named {' or '.join(wanted) or 'anything'}; allowed: {', '.join(known) or 'none at all'}"
        )
    return chosen
