"""What goes over the wire about fitting again."""

from __future__ import annotations

from typing import Literal

from recsmith.serving.bodies import Plain, Strict


class RefitBody(Strict):
    """Asks for a new run."""

    how: Literal["fit", "update"]
    """fit: from the start, with all items that there are; update: on from the old weights, without new items."""
    activate: bool = False
    """Whether the finished run goes into service by itself."""


class RefitAnswer(Plain):
    """The run that is being fitted, or the last one."""

    running: bool
    how: Literal["fit", "update"] | None
    model: str | None
    """Name of the new run."""
    started: float | None
    finished: float | None
    outcome: Literal["done", "failed", "stopped"] | None
    """done: the run is there; failed: `detail` says why; stopped: something ended the process."""
    detail: str | None
    """The last line that the process wrote about itself."""
    activated: bool
    process: int | None
    """Its number on the server's machine while it runs."""
