"""`Answered`: what a language model answered to a batch of questions, with who it was and how many answers could not be used."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

Value = TypeVar("Value")


@dataclass(frozen=True)
class Answered(Generic[Value]):
    """One value per question."""

    values: list[Value]
    """What was read out of each answer."""
    backend: str
    """Which language model spoke."""
    figures: dict[str, Any] = field(default_factory=dict)
    """`answers read`, and `format error`: the share of them out of which nothing could be read."""

    @classmethod
    def of(cls, values: list[Value], unread: int, backend: str) -> Answered[Value]:
        """Values of which `unread` could not be read."""
        return cls(values, backend, {"answers read": len(values), "format error": unread / max(1, len(values))})
