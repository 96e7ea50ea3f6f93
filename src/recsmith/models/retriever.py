"""The retriever behind a ranker of candidates: a model of this library that learns in closed form from events alone."""

from __future__ import annotations

from typing import Any

from torch import nn

from recsmith.errors import ConfigError


def closed_form_retriever(name: str, settings: dict[str, Any], *, items: int) -> nn.Module:
    """An unfitted retriever. Raises `ConfigError` for a model that cannot be one."""
    from recsmith.models import MODELS

    make = MODELS.get(name)
    if make.answers != "scores" or make.learns != "closed-form" or getattr(make, "reads", ()):
        raise ConfigError(
            f"retriever `{name}` does not fit: it must score items and learn in closed form from events alone; "
            "for example item-knn, ease or popularity"
        )
    made: nn.Module = make(make.Config.parse(settings, where="model.retriever_settings"), items=items)
    return made
