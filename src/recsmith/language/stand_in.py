"""`StandIn`: what a backend that stands in the place of another leaves to that other."""

from __future__ import annotations

from typing import Generic, TypeVar

from recsmith.language.budget import Price, price_of
from recsmith.language.completion import Backend
from recsmith.language.counting import CountTokens, counter_of

Behind = TypeVar("Behind", bound=Backend)


class StandIn(Generic[Behind]):
    """How many prompts at a time, prices, counting and closing are those of `backend`; a subclass says its name and answers."""

    def __init__(self, backend: Behind) -> None:
        self.backend = backend
        self.concurrency = backend.concurrency

    @property
    def price(self) -> Price:
        """What the backend charges."""
        return price_of(self.backend)

    @property
    def count_tokens(self) -> CountTokens:
        """How the backend counts."""
        return counter_of(self.backend)

    async def close(self) -> None:
        """Close the backend."""
        await self.backend.close()
