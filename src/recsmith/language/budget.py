"""What may be spent: tokens and money, reserved before a call and settled after it, so that no call can overdraw."""

from __future__ import annotations

from dataclasses import dataclass, field

from pydantic import Field

from recsmith.config import Config
from recsmith.errors import BudgetError
from recsmith.language.completion import Completion


class Price(Config):
    """What an endpoint charges."""

    prompt_per_million: float = Field(0.0, ge=0)
    """Money for a million tokens of prompt."""
    answer_per_million: float = Field(0.0, ge=0)
    """Money for a million tokens of answer."""
    currency: str = "USD"
    """Name of the money, for display."""

    def of(self, prompt_tokens: int, answer_tokens: int) -> float:
        """Money for one call."""
        return (prompt_tokens * self.prompt_per_million + answer_tokens * self.answer_per_million) / 1e6


def price_of(backend: object) -> Price:
    """What a backend says that it charges; nothing where it does not say."""
    price: Price = getattr(backend, "price", Price())
    return price


class Budget(Config):
    """Limits of one job; None does not limit."""

    max_tokens: int | None = Field(None, ge=0)
    """Tokens of prompts and answers together."""
    max_money: float | None = Field(None, ge=0)
    """Money, in the currency of the price."""


@dataclass
class Ledger:
    """The account of one job."""

    budget: Budget = field(default_factory=Budget)
    price: Price = field(default_factory=Price)
    prompt_tokens: int = 0
    answer_tokens: int = 0
    money: float = 0.0
    _reserved: tuple[int, float] = (0, 0.0)

    @property
    def tokens(self) -> int:
        """Tokens spent so far."""
        return self.prompt_tokens + self.answer_tokens

    def fits(self, prompt_tokens: int, answer_tokens: int) -> bool:
        """Whether a call of at most this size can be paid besides what is spent and reserved."""
        tokens, money = self._reserved
        limits = self.budget
        enough_tokens = limits.max_tokens is None or self.tokens + tokens + prompt_tokens + answer_tokens <= limits.max_tokens
        cost = self.price.of(prompt_tokens, answer_tokens)
        return enough_tokens and (limits.max_money is None or self.money + money + cost <= limits.max_money + 1e-12)

    def reserve(self, prompt_tokens: int, answer_tokens: int) -> None:
        """Set the largest cost of a call aside; raises `BudgetError` when it does not fit."""
        if not self.fits(prompt_tokens, answer_tokens):
            raise self.spent()
        self._move(prompt_tokens, answer_tokens, 1)

    def settle(self, reserved: tuple[int, int], completion: Completion | None) -> None:
        """Put what the call really cost in the place of its reservation (None: it failed and cost nothing)."""
        self._move(*reserved, -1)
        if completion is None:
            return
        self.prompt_tokens += completion.prompt_tokens
        self.answer_tokens += completion.answer_tokens
        self.money += self.price.of(completion.prompt_tokens, completion.answer_tokens)

    def spent(self) -> BudgetError:
        """The error of a job that may not go on."""
        limits = [] if self.budget.max_tokens is None else [f"{self.budget.max_tokens:,} tokens"]
        limits += [] if self.budget.max_money is None else [f"{self.budget.max_money:.4f} {self.price.currency}"]
        return BudgetError(
            f"the budget of {' and '.join(limits)} is spent: {self.tokens:,} tokens, {self.money:.4f} {self.price.currency} so far, and "
            "the next prompt could cost more than is left; answers so far are kept: raise the budget and start again to go on from here"
        )

    def _move(self, prompt_tokens: int, answer_tokens: int, sign: int) -> None:
        tokens, money = self._reserved
        cost = self.price.of(prompt_tokens, answer_tokens)
        self._reserved = (tokens + sign * (prompt_tokens + answer_tokens), money + sign * cost)
