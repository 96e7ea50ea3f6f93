"""From exposures and outcomes to one row per unit: what it was shown first, and what it did from then on."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from recsmith.errors import DataError, suggestion
from recsmith.serving.experiments.assignment import Experiment

EXPOSURE_COLUMNS = ("unit", "experiment", "arm", "time")
"""One row per time that a unit was really shown its arm; `time` in seconds."""
OUTCOME_COLUMNS = ("unit", "metric", "value", "time")
"""One row per thing that a unit did: a click (1), a purchase (its price), …; `time` in seconds."""


@dataclass(frozen=True)
class UnitTable:
    """The exposed units of one experiment."""

    frame: pl.DataFrame
    """unit, arm, time of the first exposure, exposures, one column per metric (float, 0 where nothing happened), by first exposure."""
    crossed: int
    """Units left out because they were shown two arms."""

    def values(self, metric: str, arm: str) -> np.ndarray:
        """A metric of the units of one arm, in order of first exposure, float64 `[unit]`."""
        if metric not in self.metrics:
            raise DataError(f"no outcome `{metric}` was asked for; {suggestion(metric, self.metrics)}")
        return self.frame.filter(pl.col("arm") == arm)[metric].to_numpy()

    def counts(self, experiment: Experiment) -> dict[str, int]:
        """Units per arm, 0 for an arm that nobody was shown."""
        found = dict(self.frame.group_by("arm").len().iter_rows())
        return {arm.name: found.get(arm.name, 0) for arm in experiment.arms}

    @property
    def metrics(self) -> list[str]:
        """Names of the outcomes."""
        return self.frame.columns[4:]


def unit_table(
    experiment: Experiment, exposures: pl.DataFrame, outcomes: pl.DataFrame, *, metrics: list[str], within: float | None = None
) -> UnitTable:
    """Sum of each metric per exposed unit, from its first exposure on (and for at most `within` seconds).

    Only who was exposed counts: units that were assigned but never saw a difference only add noise. `exposures` and `outcomes` have the
    columns `EXPOSURE_COLUMNS` and `OUTCOME_COLUMNS`; unit 1 and unit "1" are the same. Raises `DataError` for missing columns and
    for arms that the experiment lacks.
    """
    _require(exposures, EXPOSURE_COLUMNS, "exposures")
    _require(outcomes, OUTCOME_COLUMNS, "outcomes")
    reserved = [name for name in metrics if name in ("unit", "arm", "time", "exposures")]
    if not metrics or reserved or len(set(metrics)) < len(metrics):
        raise DataError(f"metrics {metrics!r} do not work; name each outcome once, and none `unit`, `arm`, `time` or `exposures`")
    shown = exposures.filter(pl.col("experiment") == experiment.name).with_columns(pl.col("unit").cast(pl.String))
    strange = set(shown["arm"].unique().to_list()) - {arm.name for arm in experiment.arms}
    if strange:
        name = str(min(map(str, strange)))
        hint = suggestion(name, (arm.name for arm in experiment.arms))
        raise DataError(f"exposures of `{experiment.name}` name an arm `{name}` that it does not have; {hint}")
    units = shown.group_by("unit").agg(
        arm=pl.col("arm").first(), time=pl.col("time").min(), exposures=pl.len(), arms=pl.col("arm").n_unique()
    )
    once = units.filter(pl.col("arms") == 1).drop("arms").sort("time", "unit")
    sums = _sums(once, outcomes, metrics, within)
    return UnitTable(once.join(sums, on="unit", how="left", maintain_order="left"), crossed=len(units) - len(once))


def _sums(units: pl.DataFrame, outcomes: pl.DataFrame, metrics: list[str], within: float | None) -> pl.DataFrame:
    """unit and one column per metric, for every unit."""
    own = outcomes.select(OUTCOME_COLUMNS).with_columns(pl.col("unit").cast(pl.String))
    joined = own.join(units.select("unit", pl.col("time").alias("first")), on="unit", how="inner")
    after = pl.col("time") >= pl.col("first")
    if within is not None:
        after &= pl.col("time") < pl.col("first") + within
    counted = joined.filter(after)
    sums = [pl.col("value").filter(pl.col("metric") == metric).sum().cast(pl.Float64).alias(metric) for metric in metrics]
    return units.select("unit").join(counted.group_by("unit").agg(sums), on="unit", how="left").with_columns(pl.col(metrics).fill_null(0.0))


def _require(frame: pl.DataFrame, columns: tuple[str, ...], what: str) -> None:
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        have = ", ".join(f"`{name}`" for name in frame.columns)
        raise DataError(f"{what} lack {', '.join(f'`{name}`' for name in missing)}; they have {have or 'no columns'}")
