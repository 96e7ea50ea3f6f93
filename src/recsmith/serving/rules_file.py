"""The rules file: what a shop wants of every answer, in one small TOML file (or the same as JSON by API).

    [stock]                                # only what is there
    [price]
    high = 80
    [region]                               # the person's own
    [age_rating]
    [purchased]
    [calibration]
    column = "genres"

    [[deny]]
    name = "nothing of our rival"
    where = { provider = "Northlight" }
    [[cap]]
    at_most = 2
    column = "series"
    [[quota]]
    at_least = 1
    where = { year = { low = 2020 } }
    [[boost]]
    factor = 1.5
    where = { maker = "Ada Marsh" }
    [[pin]]
    item = "i00017"
    position = 3

What a list under these rules is stands in `recsmith.decoding.rules`; they are applied inside the search.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StrictInt, StrictStr, field_validator, model_validator

from recsmith.config import Config
from recsmith.errors import ConfigError, suggestion
from recsmith.serving.rule_conditions import read_condition

ItemId = StrictInt | StrictStr
Ids = Annotated[tuple[ItemId, ...], Field(max_length=100_000)]


class StockRule(Config):
    """Only items of which there are some left."""

    column: str = "stock"
    """Column with the number of pieces, or with true and false."""
    at_least: float = Field(1, gt=0)
    """Fewest pieces."""
    missing: bool = False
    """Whether items without a figure may be shown."""


class PriceRule(Config):
    """Only items in a range of prices."""

    low: float | None = None
    """Lowest price, in the unit of the column."""
    high: float | None = None
    """Highest price, in the unit of the column."""
    column: str = "price"
    """Column with the price."""
    missing: bool = False
    """Whether items without a price may be shown."""

    @model_validator(mode="after")
    def _has_an_end(self) -> Self:
        if self.low is None and self.high is None:
            raise ValueError("a range of prices needs `low`, `high` or both")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"no price is at least {self.low:g} and at most {self.high:g}; swap the two")
        return self


class FreshnessRule(Config):
    """Only items that are not too old."""

    days: float = Field(gt=0)
    """Greatest age in days."""
    column: str
    """Column with dates, or with seconds since the epoch."""
    missing: bool = False
    """Whether items without a date may be shown."""


class RegionRule(Config):
    """Only items that are offered where the person is."""

    name: str | None = None
    """One region for everybody; without it, the region of the person or request."""
    column: str = "region"
    """Column with the region, or a list of regions."""
    missing: bool = True
    """Whether items without a region are offered everywhere."""
    unknown: Literal["allow", "deny"] = "allow"
    """People whose region is not known: everything, or only items without a region."""


class AgeRule(Config):
    """Only items that are suitable for the person's age."""

    column: str = "age_rating"
    """Column with ages or ratings such as `12+`, `PG-13`."""
    missing: bool = False
    """Whether items without a rating may be shown."""
    unknown: float = Field(0, ge=0, le=150)
    """Age in years that is assumed of people who did not tell theirs; 0 shows them only what suits all."""


class PurchasedRule(Config):
    """Nothing that the person has already bought, whatever else may be shown again."""

    events: tuple[str, ...] = Field(("purchase",), min_length=1)
    """Types of events that count as buying."""
    days: float | None = Field(None, gt=0)
    """For so many days after it; without it, for ever."""

    def counts(self, event_type: str, time: float, *, now: float) -> bool:
        """Whether an event shuts its item out; times in seconds."""
        return event_type in self.events and (self.days is None or now - time <= self.days * 86_400)


class CalibrationRule(Config):
    """Lists hold categories as the person's history does (calibration: Steck, 2018), by quotas inside the search.

    A category with share p of the history gets at least ⌊k · strength · p⌋ of the k places, where there are such items. Deviation:
    Steck re-ranks by divergence; quotas keep the best items of each category, exactly, and need no second pass.
    """

    column: str
    """Column with a category or a list of categories."""
    strength: float = Field(1.0, gt=0, le=1)
    """Share of the places that quotas may claim; the best items fill the rest."""


class Listed(Config):
    """Base of rules that are about some items."""

    name: str = Field("", max_length=200)
    """What the rule is called where an answer is explained."""
    items: Ids = ()
    """Raw ids of items."""
    where: dict[str, Any] = Field(default_factory=dict)
    """Condition on the items' columns; with `items`, both must hold."""

    @field_validator("where")
    @classmethod
    def _readable(cls, where: dict[str, Any]) -> dict[str, Any]:
        if where:
            try:
                read_condition(where)
            except ConfigError as error:
                raise ValueError(str(error)) from None
        return where

    def condition(self) -> dict[str, Any]:
        """`where` with the items as one more part."""
        return {**self.where, **({"items": list(self.items)} if self.items else {})}

    def _require_condition(self) -> None:
        if not self.items and not self.where:
            raise ValueError("it says of no item that it is about it; give `items`, `where` or both")


class AllowRule(Listed):
    """Only these items; several such rules must all hold."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self._require_condition()
        return self


class DenyRule(Listed):
    """None of these items."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self._require_condition()
        return self


class CapRule(Listed):
    """At most so many of a brand, a provider, a series, …, or of these items together."""

    at_most: int = Field(ge=0)
    """Most items of a list."""
    column: str | None = None
    """Column of whose values each may be there so often; without it, all the items together."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.column is None:
            self._require_condition()
        return self


class QuotaRule(Listed):
    """At least so many of these items, as far as there are so many."""

    at_least: int = Field(ge=1, le=1_000)
    """Fewest items of a list."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self._require_condition()
        return self


class BoostRule(Listed):
    """These items further up, or down."""

    factor: float | None = Field(None, gt=0, lt=math.inf)
    """Odds are multiplied by it; above 1 moves up, below 1 down."""
    add: float | None = Field(None, allow_inf_nan=False)
    """Added to the score instead, for models whose scores are not log-probabilities."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        self._require_condition()
        if (self.factor is None) == (self.add is None):
            raise ValueError("a boost takes either `factor` or `add`")
        return self


class PinRule(Config):
    """This item at this place."""

    item: ItemId
    """Raw id of the item."""
    position: int = Field(ge=1, le=1_000)
    """Place in the list, from 1."""
    name: str = Field("", max_length=200)
    """What the rule is called where an answer is explained."""


class RulesFile(Config):
    """All rules of a shop."""

    stock: StockRule | None = None
    """Only what is in stock."""
    price: PriceRule | None = None
    """Range of prices."""
    freshness: FreshnessRule | None = None
    """Greatest age of items."""
    region: RegionRule | None = None
    """Only what is offered where the person is."""
    age_rating: AgeRule | None = None
    """Only what suits the person's age."""
    purchased: PurchasedRule | None = None
    """Nothing already bought."""
    calibration: CalibrationRule | None = None
    """Categories in the proportions of the person's history."""
    allow: tuple[AllowRule, ...] = ()
    """Only these items."""
    deny: tuple[DenyRule, ...] = ()
    """None of these items."""
    cap: tuple[CapRule, ...] = ()
    """At most so many."""
    quota: tuple[QuotaRule, ...] = ()
    """At least so many, in this order."""
    boost: tuple[BoostRule, ...] = ()
    """Further up or down."""
    pin: tuple[PinRule, ...] = ()
    """At a fixed place."""

    @classmethod
    def build(cls, values: Mapping[str, Any], *, where: str = "rules") -> RulesFile:
        """From nested tables. Raises `ConfigError` naming section, row and key of each mistake; `where` begins the message."""
        problems: list[str] = []
        sections = {name: _section(name, value, problems) for name, value in values.items()}
        if problems:
            raise ConfigError(f"{where}: {'; '.join(problems)}")
        return cls(**sections)

    def table(self) -> dict[str, Any]:
        """The rules as nested tables, without what is not set: `build` reads them back."""
        return self.model_dump(mode="json", exclude_unset=True)


SINGLE: dict[str, type[Config]] = {
    "stock": StockRule,
    "price": PriceRule,
    "freshness": FreshnessRule,
    "region": RegionRule,
    "age_rating": AgeRule,
    "purchased": PurchasedRule,
    "calibration": CalibrationRule,
}
"""Sections that stand once: `[stock]`."""

REPEATED: dict[str, type[Config]] = {
    "allow": AllowRule,
    "deny": DenyRule,
    "cap": CapRule,
    "quota": QuotaRule,
    "boost": BoostRule,
    "pin": PinRule,
}
"""Sections that may stand any number of times: `[[cap]]`."""


def read_rules(path: Path) -> RulesFile:
    """Read a rules file. Raises `ConfigError` when it is missing, not TOML (with the line) or says something that is no rule."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ConfigError(f"rules file `{path}` does not exist; give the path of a TOML file") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"rules file `{path}` is not readable TOML: {error}") from None
    return RulesFile.build(values, where=f"rules file `{path}`")


def _section(name: str, value: Any, problems: list[str]) -> Any:
    """The settings of one section; what is wrong with it goes to `problems`."""
    if name in SINGLE:
        if isinstance(value, Mapping):
            return _parsed(SINGLE[name], value, name, problems)
        problems.append(f"`{name}` is one section: write [{name}], once, with settings below it")
    elif name in REPEATED:
        if isinstance(value, list) and all(isinstance(row, Mapping) for row in value):
            return tuple(_parsed(REPEATED[name], row, f"{name}[{number}]", problems) for number, row in enumerate(value, start=1))
        problems.append(f"`{name}` is a list of rules; write [[{name}]] with two brackets before each")
    else:
        problems.append(f"unknown section `{name}`; {suggestion(name, [*SINGLE, *REPEATED])}")
    return None


def _parsed(kind: type[Config], row: Mapping[str, Any], where: str, problems: list[str]) -> Config | None:
    try:
        return kind.parse(row, where=where)
    except ConfigError as error:
        problems.append(str(error))
        return None
