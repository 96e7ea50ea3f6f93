"""Search spaces: for each setting either a list of choices or a range."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any, Self

from pydantic import Field, model_validator

from recsmith.config import Config
from recsmith.errors import ConfigError, import_extra, suggestion

Number = int | float


class Choices(Config):
    """A setting with a few values to choose from."""

    choices: list[Any] = Field(min_length=1)
    """The values, all different: numbers, texts, truth values, none, or lists of them."""

    @model_validator(mode="after")
    def _distinct(self) -> Self:
        if any(_position(value, self.choices[:place]) is not None for place, value in enumerate(self.choices)):
            raise ValueError(f"{self.choices!r} names a value twice; name each once")
        return self

    def distribution(self, optuna: Any) -> Any:
        """Over positions in the list: any value may stand there, and ascending numbers keep their order for the sampler."""
        if self._ascending():
            return optuna.distributions.IntDistribution(0, len(self.choices) - 1)
        return optuna.distributions.CategoricalDistribution(tuple(range(len(self.choices))))

    def encode(self, value: Any) -> int | None:
        """Position of a value; None when it is not among the choices."""
        return _position(value, self.choices)

    def decode(self, coordinate: int) -> Any:
        """The value at a position."""
        return self.choices[coordinate]

    def values(self) -> list[Any]:
        """All values."""
        return self.choices

    def _ascending(self) -> bool:
        return all(_is_number(value) for value in self.choices) and self.choices == sorted(self.choices)


class Range(Config):
    """A setting that is a number between two bounds, whole when both bounds (and the step) are whole."""

    low: Number
    """Least value."""
    high: Number
    """Greatest value."""
    log: bool = False
    """Search on a logarithmic scale."""
    step: Number | None = Field(default=None, gt=0)
    """Distance of neighbouring values, counted from `low`."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low = {self.low!r} must be below high = {self.high!r}")
        if self.log and self.low <= 0:
            raise ValueError(f"a logarithmic range must start above 0, not at low = {self.low!r}")
        if self.log and self.step is not None:
            raise ValueError("a range has either `log` or `step`; drop one of them")
        if self.step is not None and abs(round(self._steps) - self._steps) > 1e-6:
            raise ValueError(f"high = {self.high!r} is not a whole number of steps of {self.step!r} above low = {self.low!r}")
        return self

    @property
    def whole(self) -> bool:
        """Whether the values are integers."""
        return all(isinstance(value, int) for value in (self.low, self.high, self.step or 1))

    def values(self) -> list[Number] | None:
        """All values in ascending order; None for a continuous range."""
        if self.step is None and not self.whole:
            return None
        return [self.decode(place if self.step is not None else self.low + place) for place in range(round(self._steps) + 1)]

    @property
    def _steps(self) -> float:
        return (self.high - self.low) / (self.step or 1)

    def distribution(self, optuna: Any) -> Any:
        """Over the value itself or, in a stepped range, over the number of steps above `low`, which are exact."""
        if self.step is not None:
            return optuna.distributions.IntDistribution(0, round(self._steps))
        if self.whole:
            return optuna.distributions.IntDistribution(self.low, self.high, log=self.log)
        return optuna.distributions.FloatDistribution(float(self.low), float(self.high), log=self.log)

    def encode(self, value: Any) -> Number | None:
        """The value as a coordinate; None when it lies outside or, in a stepped range, between two steps."""
        if not _is_number(value) or not self.low <= value <= self.high or (self.whole and value != int(value)):
            return None
        if self.step is None:
            return int(value) if self.whole else float(value)
        place = (value - self.low) / self.step
        return round(place) if abs(round(place) - place) < 1e-6 else None

    def decode(self, coordinate: Number) -> Number:
        """The coordinate as a value, free of the noise that adding up steps leaves (.30000000000000004)."""
        value = coordinate if self.step is None else self.low + coordinate * self.step
        return int(value) if self.whole else float(f"{value:.12g}")


@dataclass(frozen=True)
class SearchSpace:
    """Dotted setting → where to search."""

    dimensions: dict[str, Choices | Range]

    @classmethod
    def parse(cls, table: Mapping[str, Mapping[str, Any]]) -> SearchSpace:
        """From a table such as `{"model.dim": {"choices": [32, 64]}, "training.learning_rate": {"low": 1e-4, "high": 1e-2, "log": True}}`.

        Raises `ConfigError`, with the key and a suggestion, for anything else.
        """
        if not table:
            raise ConfigError("the search space is empty; name at least one setting, such as `model.dim` = {choices = [32, 64]}")
        return cls({key: _dimension(key, description) for key, description in table.items()})

    def table(self) -> dict[str, dict[str, Any]]:
        """The inverse of `parse`: plain values, defaults left out."""
        return {key: dimension.model_dump(exclude_defaults=True) for key, dimension in self.dimensions.items()}

    def distributions(self) -> dict[str, Any]:
        """optuna's description of the space; needs optuna."""
        optuna = import_extra("optuna", extra="tune", purpose="`recsmith tune`")
        return {key: dimension.distribution(optuna) for key, dimension in self.dimensions.items()}

    def encode(self, settings: Mapping[str, Any]) -> dict[str, Any] | None:
        """Settings → coordinates of the sampler; None when they lie outside the space."""
        if settings.keys() != self.dimensions.keys():
            return None
        coordinates = {key: self.dimensions[key].encode(value) for key, value in settings.items()}
        return None if None in coordinates.values() else coordinates

    def decode(self, coordinates: Mapping[str, Any]) -> dict[str, Any]:
        """Coordinates of the sampler → settings."""
        return {key: dimension.decode(coordinates[key]) for key, dimension in self.dimensions.items()}

    def points(self) -> Iterator[dict[str, Any]] | None:
        """All settings one after the other; None where a dimension is continuous."""
        values = [dimension.values() for dimension in self.dimensions.values()]
        known = [one for one in values if one is not None]
        if len(known) < len(values):
            return None
        return (dict(zip(self.dimensions, point, strict=True)) for point in product(*known))


def _dimension(key: str, description: Any) -> Choices | Range:
    if not isinstance(description, Mapping):
        raise ConfigError(f"search space of `{key}` is {description!r}; give {{choices = […]}} or {{low = …, high = …}}")
    if "choices" in description:
        return Choices.parse(description, where=key)
    unknown = [name for name in description if name not in Range.model_fields]
    if unknown:
        allowed = ["choices", *Range.model_fields]
        raise ConfigError(f"unknown setting `{key}.{unknown[0]}`; {suggestion(unknown[0], allowed)}")
    return Range.parse(description, where=key)


def _position(value: Any, values: list[Any]) -> int | None:
    """Like `list.index`, but `True` is not 1 and None means absent."""
    places = (place for place, other in enumerate(values) if other == value and isinstance(other, bool) == isinstance(value, bool))
    return next(places, None)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
