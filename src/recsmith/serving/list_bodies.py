"""What goes over the wire about evidence, slates and search; like `bodies`, which has the rest."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from recsmith.serving.bodies import MOST_ITEMS, Deadline, Flag, Id, ListAnswer, Name, Plain, PlainId, RankedItem, Strict

MOST_SLOTS = 100
"""Largest slate."""
MOST_LEFT_OUT = 200
"""Most events that one explanation leaves out in turn."""

# ---- slates ---------------------------------------------------------------------------------------------------------

Size = Annotated[int, Field(ge=1, le=MOST_SLOTS)]
Wanted = Annotated[float | None, Field(ge=0, le=1)]
Seed = Annotated[int | None, Field(ge=0, le=2**31 - 1)]


class SlateQuery(Strict):
    """A page, a basket, a bundle for a person."""

    size: Size = 5
    """Number of items."""
    include_seen: Flag | None = None
    """Whether items of the history may be answered again; without it, as in the task that the model was fitted for."""
    wanted: Wanted = None
    """The response that the slate shall get, 0 the worst to 1 the best; only for models that learn from responses."""
    seed: Seed = None
    """Draws the slate, another seed another slate; without it the most probable one is answered."""
    deadline_ms: Deadline = None
    """Milliseconds after which the answer falls back; the server's setting without it."""


class SlateBody(Strict):
    """A page, a basket, a bundle for somebody of whom only this is known."""

    history: list[Id] = Field(max_length=MOST_ITEMS)
    """Item ids, oldest first; unknown ones are left out."""
    size: Size = 5
    """Number of items."""
    include_seen: bool | None = None
    """Whether items of the history may be answered again; without it, as in the task that the model was fitted for."""
    allow: list[Id] | None = Field(None, max_length=MOST_ITEMS)
    """Only these items."""
    deny: list[Id] = Field(default_factory=list, max_length=MOST_ITEMS)
    """None of these items."""
    region: Name | None = None
    """Where the person is, for rules that ask for it."""
    age: float | None = Field(None, ge=0, le=150)
    """Age in years, for rules that ask for it."""
    wanted: Wanted = None
    """The response that the slate shall get, 0 the worst to 1 the best; only for models that learn from responses."""
    seed: Seed = None
    """Draws the slate, another seed another slate; without it the most probable one is answered."""
    deadline_ms: Deadline = None
    """Milliseconds after which the answer falls back; the server's setting without it."""


class SlateAnswer(ListAnswer):
    """A slate in slot order: `rank` is the slot."""

    filled: Literal["slots", "list"]
    """slots: each item was chosen given those before it, and its score is its log-probability; list: the model's top list."""
    log_likelihood: float | None
    """Of the slate, where it was filled slot by slot."""


# ---- search ---------------------------------------------------------------------------------------------------------

Words = Annotated[str, Field(min_length=1, max_length=500, pattern=r"^[^\u0000]{1,500}$")]
Weight = Annotated[float, Field(ge=0, le=100)]


class SearchQuery(Strict):
    """Words to look for."""

    q: Words
    """Words; items that share none of them are only found where the server also searches by meaning."""
    k: int = Field(10, ge=1, le=MOST_ITEMS)
    """Number of items."""
    user_id: PlainId | None = None
    """Whose taste the order follows; items of the history may be found."""
    personal: Weight = 1.0
    """Weight of the person's order beside that of the search, which has 1."""
    deadline_ms: Deadline = None
    """Milliseconds for the person's order; without it in time, the order is that of the search."""


class SearchBody(Strict):
    """Words to look for among items that meet a condition."""

    q: Words
    """Words; items that share none of them are only found where the server also searches by meaning."""
    k: int = Field(10, ge=1, le=MOST_ITEMS)
    """Number of items."""
    where: dict[str, Any] | None = Field(None, max_length=20)
    """A condition as in the rules file: `{"brand": ["Acme"], "price": {"high": 20}}`."""
    user_id: Id | None = None
    """Whose taste the order follows; items of the history may be found."""
    personal: Weight = 1.0
    """Weight of the person's order beside that of the search, which has 1."""
    region: Name | None = None
    """Where somebody without `user_id` is, for rules that ask for it."""
    age: float | None = Field(None, ge=0, le=150)
    """Age in years of somebody without `user_id`, for rules that ask for it."""
    deadline_ms: Deadline = None
    """Milliseconds for the person's order; without it in time, the order is that of the search."""


class SearchAnswer(Plain):
    """What was found, best first."""

    model: str
    ways: list[Literal["words", "vectors"]]
    """How it was looked for; vectors are missing while they are being made."""
    personal: bool
    """Whether the model had a say in the order."""
    degraded: list[Literal["deadline", "overload", "failure", "store"]]
    """Why the order is less personal than it should be."""
    items: list[RankedItem]
    """Scores are sums of reciprocal ranks."""


# ---- evidence -----------------------------------------------------------------------------------------------------------


class ExplainQuery(Strict):
    """How closely to look."""

    last: int = Field(50, ge=1, le=MOST_LEFT_OUT)
    """Events of the history that are left out in turn, the most recent ones."""


class ExplainBody(Strict):
    """An item, and somebody of whom only this is known."""

    item_id: Id
    history: list[Id] = Field(max_length=MOST_ITEMS)
    """Item ids, oldest first; unknown ones are left out."""
    last: int = Field(50, ge=1, le=MOST_LEFT_OUT)
    """Events of the history that are left out in turn, the most recent ones."""


class EventWeight(Plain):
    """What one event of the history gives to the item."""

    position: int = Field(ge=1)
    """Place in the history, the oldest first."""
    item_id: str
    title: str | None
    change: float | None
    """Score with the event minus score without it: above 0 it speaks for the item. Null when it is the only event."""
    rank_without: int | None
    """Place of the item among the whole catalogue without the event; null for models that generate."""


class CodeWeight(Plain):
    """One step in which the model generates the item."""

    level: int = Field(ge=1)
    code: int
    log_probability: float


class EvidenceAnswer(Plain):
    """What carries an item, before any rule: by leaving each event out and asking the model again."""

    model: str
    item_id: str
    title: str | None
    measure: Literal["score", "log-probability"]
    score: float | None
    """Null for a new item that the model gives no score."""
    rank: int | None
    """Place among the whole catalogue; null for models that generate."""
    events: list[EventWeight]
    """What speaks most for the item first."""
    codes: list[CodeWeight]
    """Empty for models that do not generate codes."""
