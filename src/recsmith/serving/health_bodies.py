"""What `/health/…` answers."""

from __future__ import annotations

from typing import Literal

from recsmith.serving.bodies import Plain


class LiveAnswer(Plain):
    """The process runs."""

    status: Literal["ok"]


class ReadyAnswer(Plain):
    """The server answers."""

    status: Literal["ready", "degraded"]
    model: str
    store: Literal["available", "unavailable"]
    sharing: Literal["redis", "store"] | None = None
    """With several workers: how they learn what the others did."""
