"""What goes over the wire, as pydantic models: they check requests and are the schemas of `/openapi.json`. Every value is bounded."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema

from recsmith.serving.keys import Role

_ID_PATTERN = r"^[^\u0000-\u001f\u007f]{1,256}$"
_ID_TEXT = {"type": "string", "minLength": 1, "maxLength": 256, "pattern": _ID_PATTERN}
MOST_ITEMS = 1000
"""Largest k, and most ids in one list of ids."""
MOST_EVENTS = 1000
"""Most events, items or users in one request."""


def _as_text(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))  # 12.0 is a whole number in JSON
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _truth(value: Any) -> Any:
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value, value + " (allowed: true, false)")
    return value


PlainId = Annotated[str, Field(min_length=1, max_length=256, pattern=_ID_PATTERN), WithJsonSchema(_ID_TEXT)]
"""An id in a path."""
Id = Annotated[
    str,
    BeforeValidator(_as_text),
    Field(min_length=1, max_length=256, pattern=_ID_PATTERN),
    WithJsonSchema({"anyOf": [_ID_TEXT, {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}]}),
]
"""An id in a body: text or a whole number, which is the same as its digits."""
Flag = Annotated[bool, BeforeValidator(_truth), WithJsonSchema({"type": "boolean"})]
Scalar = Annotated[str, Field(max_length=4096)] | bool | Annotated[int, Field(ge=-(2**63), le=2**63 - 1)] | float | None
Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[^\u0000-\u001f\u007f]{1,64}$")]
_SCALAR_SCHEMA = {
    "anyOf": [
        {"type": "string", "maxLength": 4096},
        {"type": "boolean"},
        {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1},
        {"type": "number"},
        {"type": "null"},
    ]
}
_ATTRIBUTES_SCHEMA = {
    "type": "object",
    "maxProperties": 64,
    "propertyNames": {"type": "string", "minLength": 1, "maxLength": 64, "pattern": r"^[^\u0000-\u001f\u007f]{1,64}$"},
    "additionalProperties": {"anyOf": [*_SCALAR_SCHEMA["anyOf"], {"type": "array", "maxItems": 100, "items": _SCALAR_SCHEMA}]},
}
Attributes = Annotated[
    dict[Name, Scalar | Annotated[list[Scalar], Field(max_length=100)]], Field(max_length=64), WithJsonSchema(_ATTRIBUTES_SCHEMA)
]
Deadline = Annotated[int | None, Field(ge=1, le=60_000)]


class Strict(BaseModel):
    """Base of requests: unknown names are refused."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True, frozen=True)


class Plain(BaseModel):
    """Base of answers."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


# ---- requests -----------------------------------------------------------------------------------------------------------


class NoQuery(Strict):
    """No parameters."""


class ListQuery(Strict):
    """How long a list shall be."""

    k: int = Field(10, ge=1, le=MOST_ITEMS)
    """Number of items."""
    deadline_ms: Deadline = None
    """Milliseconds after which the answer falls back; the server's setting without it."""


class RecommendQuery(ListQuery):
    """A list for a person."""

    include_seen: Flag | None = None
    """Whether items of the history may be answered again; without it, as in the task that the model was fitted for."""


class CountQuery(Strict):
    """How many."""

    k: int = Field(10, ge=1, le=MOST_ITEMS)
    """Number of items."""


class PageQuery(Strict):
    """A page of a feed."""

    after: int = Field(0, ge=0, le=2**63 - 1)
    """Begin behind this number."""
    limit: int = Field(100, ge=1, le=1000)
    """Rows at most."""


class NamePageQuery(Strict):
    """A page of a table in the order of its ids."""

    after: Annotated[str, Field(max_length=256, pattern=r"^[^\u0000-\u001f\u007f]{0,256}$")] = ""
    """Begin behind this id."""
    limit: int = Field(100, ge=1, le=1000)
    """Rows at most."""


class SessionBody(Strict):
    """A list for somebody of whom only this is known."""

    history: list[Id] = Field(max_length=MOST_ITEMS)
    """Item ids, oldest first; unknown ones are left out."""
    k: int = Field(10, ge=1, le=MOST_ITEMS)
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
    session_id: Id | None = None
    """Takes part in experiments under this name; events with it as `user_id` count as what came of it."""
    deadline_ms: Deadline = None
    """Milliseconds after which the answer falls back; the server's setting without it."""


class EventBody(Strict):
    """Something that a person did with an item."""

    event_id: Id | None = None
    """Names the event: the same id sent again changes nothing. Without one the server makes one up, and a repetition counts twice."""
    user_id: Id
    item_id: Id
    kind: Name = "view"
    """What happened; see the setting `history_kinds`."""
    time: float | None = Field(None, ge=0, le=32_503_680_000)
    """Seconds since the epoch; now without it."""
    value: float = Field(1.0, ge=-1e6, le=1e6)
    """Rating or strength."""
    list_id: Annotated[str, Field(max_length=64, pattern=r"^[0-9A-Za-z_-]{1,64}$")] | None = None
    """The answer in which the item was shown."""


class EventsBody(Strict):
    """Several events; all are durable when the answer comes."""

    events: list[EventBody] = Field(min_length=1, max_length=MOST_EVENTS)


class ItemFields(Strict):
    """What is known about an item."""

    title: Annotated[str, Field(max_length=1000, pattern=r"^[^\u0000]*$")] | None = None
    """What it is called."""
    attributes: Attributes = Field(default_factory=dict)
    """Values by column name of the catalogue."""


class ItemBody(ItemFields):
    """An item."""

    item_id: Id


class ItemsBody(Strict):
    """Several items."""

    items: list[ItemBody] = Field(min_length=1, max_length=MOST_EVENTS)


class UserFields(Strict):
    """What is known about a person."""

    attributes: Attributes = Field(default_factory=dict)
    """Values by name; rules look at `region` and `age`."""


class UserBody(UserFields):
    """A person."""

    user_id: Id


class UsersBody(Strict):
    """Several people."""

    users: list[UserBody] = Field(min_length=1, max_length=MOST_EVENTS)


class KeyBody(Strict):
    """A new API key."""

    name: Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\u0000-\u001f\u007f]{1,128}$")]
    """What it is for."""
    role: Role
    """reader, writer or admin."""
    days: float | None = Field(None, gt=0, le=3660)
    """Days until it expires; never without it."""


class RulesBody(Strict):
    """The business's rules, in place of those in force; see the guide for what a rule may say."""

    rules: dict[str, Any] = Field(max_length=20)
    """Sections as in the rules file: `{"cap": [{"at_most": 2, "column": "brand"}]}`; an empty one lifts all rules."""


# ---- answers ------------------------------------------------------------------------------------------------------------


class ProblemAnswer(Plain):
    """Why something was refused (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str
    """What was given, what is allowed, what to do next."""


class RankedItem(Plain):
    """One place of a list."""

    item_id: str
    rank: int = Field(ge=1)
    score: float
    """Higher is better; comparable inside the list."""
    title: str | None


class ListAnswer(Plain):
    """A list, best first."""

    list_id: str
    """Name it in the events that follow from the list."""
    model: str
    source: Literal["model", "cache", "stale", "popularity"]
    """model; cache: the model's answer to the same question, still true; stale: to an earlier one; popularity."""
    degraded: list[Literal["deadline", "overload", "failure", "store"]]
    """Why the answer is less than it should be; empty when it is not."""
    experiments: dict[str, str] = Field(default_factory=dict)
    """Experiment → arm, for those that the person takes part in."""
    items: list[RankedItem]


class PopularAnswer(Plain):
    """Items by how many people, or how many lately, had to do with them."""

    items: list[RankedItem]


class EventsAnswer(Plain):
    """What was written; it survives a crash of the machine."""

    accepted: int = Field(ge=0)
    duplicates: int = Field(ge=0)
    """Events whose id was there already."""


class FeedEvent(Plain):
    """An event of the feed."""

    seq: int
    event_id: str
    user_id: str
    item_id: str
    kind: str
    time: float
    value: float
    list_id: str | None
    received: float


class FeedAnswer(Plain):
    """Events in the order in which they were acknowledged."""

    events: list[FeedEvent]


class ItemAnswer(Plain):
    """An item as it is served."""

    item_id: str
    title: str | None
    attributes: dict[str, Any]
    deleted: bool
    answered_by: Literal["model", "codes", "vectors", "neighbours", "unscored", "nothing"]
    """How the model in service treats it: trained on it, by codes or vectors made for it, by similar items, or not at all."""


class ItemsAnswer(Plain):
    """Items that were written through the API, in the order of their ids."""

    items: list[ItemAnswer]


class WrittenAnswer(Plain):
    """How many rows were written."""

    written: int = Field(ge=0)


class UserAnswer(Plain):
    """A person."""

    user_id: str
    attributes: dict[str, Any]
    trained: bool
    """Whether the model in service was fitted with this person's history."""


class UsersAnswer(Plain):
    """People that were written through the API, in the order of their ids."""

    users: list[UserAnswer]


class HistoryItem(Plain):
    """One event of a history."""

    item_id: str
    title: str | None


class HistoryAnswer(Plain):
    """What answers to a person are made from, oldest first."""

    user_id: str
    items: list[HistoryItem]


class ShownList(Plain):
    """A list that was served."""

    list_id: str
    user_id: str | None
    model: str
    source: str
    items: list[str]
    propensities: list[float]
    """Probability with which each item was chosen for its place, given those above it; empty for interleaved lists."""
    experiment: dict[str, Any] | None
    """Arms by experiment, teams of an interleaved list, and whether it explored."""
    time: float


class Exposure(Plain):
    """An arm that a person was shown."""

    experiment: str
    unit: str
    arm: str
    first: float
    """When for the first time, seconds since the epoch."""
    lists: int


class ExportAnswer(Plain):
    """Everything that is held about a person."""

    user_id: str
    attributes: dict[str, Any] | None
    run_history: list[str]
    """Items of the person's events in the run's own log."""
    events: list[FeedEvent]
    lists: list[ShownList]
    exposures: list[Exposure]
    """Which arms of experiments the person was shown."""
    note: str


class ForgottenAnswer(Plain):
    """What was deleted, and what is left to do."""

    events: int
    lists: int
    users: int
    in_model: bool
    """Whether the model in service was trained with this person's events; then a new fit, or unlearning, is needed."""


class ModelAnswer(Plain):
    """A run folder that may be served."""

    name: str
    active: bool
    recipe: str | None


class ModelsAnswer(Plain):
    """All of them."""

    models: list[ModelAnswer]
    previous: str | None
    """What a rollback leads to."""


class ActiveAnswer(Plain):
    """The model in service."""

    model: str
    items: int


class KeyAnswer(Plain):
    """A key, without its secret."""

    key_id: str
    name: str
    role: Role
    created: float
    expires: float | None
    revoked: float | None


class KeysAnswer(Plain):
    """All keys."""

    keys: list[KeyAnswer]


class NewKeyAnswer(Plain):
    """A key, shown this once."""

    key: str
    key_id: str


class AuditRow(Plain):
    """A change and who made it."""

    seq: int
    time: float
    key_id: str | None
    action: str
    target: str | None


class AuditAnswer(Plain):
    """Changes, oldest first."""

    rows: list[AuditRow]


class RulesAnswer(Plain):
    """The rules in force."""

    rules: dict[str, Any]


class ReasonAnswer(Plain):
    """One thing that speaks for or against an item."""

    kind: str
    rule: str | None
    text: str


class WhyAnswer(Plain):
    """Why an item is, or is not, in a person's list."""

    user_id: str
    item_id: str
    position: int | None
    """Its place in the person's list of `k` items, None when it is not there."""
    reasons: list[ReasonAnswer]
    """What speaks for or against it; for an item that is not shown, what keeps it out comes first."""
