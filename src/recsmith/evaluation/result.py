"""`Evaluation`: what one measurement found, with the split and protocol that it belongs to."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from recsmith.evaluation.as_json import json_ready
from recsmith.evaluation.leaks import LeakCheck
from recsmith.evaluation.tables import format_table


@dataclass(frozen=True)
class Evaluation:
    """Metrics of one system on the cases of one split."""

    metrics: dict[str, float]
    """Value by name and cutoff, such as `NDCG@10`; nan where a metric is undefined (no lists at all)."""
    per_case: dict[str, np.ndarray]
    """The same names → one value per case, float64 `[case]`, nan where undefined for a case; only metrics that are means over cases."""
    split: str
    """Which cases were asked: "validation" or "test"; "unnamed" when the lists came as bare arrays."""
    protocol: dict[str, Any]
    """How the data were cut: name, version, hash and parameters of the split, and what was ranked."""
    seconds: float
    """Wall time, that of the answers included where they were asked for here."""
    cases: int
    """Number of cases, those without an answer included."""
    figures: dict[str, float] = field(default_factory=dict)
    """What else is worth knowing about the lists: share of cases answered, repeated and unknown items, …"""
    checks: tuple[LeakCheck, ...] = ()
    """Leaks, ties and twins of the split that the cases come from; empty when the lists came as bare arrays."""

    def as_dict(self) -> dict[str, Any]:
        """Everything but the values per case, ready for JSON; undefined numbers are None."""
        return {
            "split": self.split,
            "protocol": dict(self.protocol),
            "metrics": json_ready(self.metrics),
            "figures": json_ready(self.figures),
            "checks": [check.as_dict() for check in self.checks],
            "cases": self.cases,
            "seconds": round(self.seconds, 3),
        }

    def table(self) -> str:
        """Plain text: one row per metric, one column per cutoff."""
        rows: dict[str, dict[str, Any]] = {}
        for name, value in self.metrics.items():
            metric, _, cutoff = name.partition("@")
            rows.setdefault(metric, {f"{self.split}, {self.cases} cases": metric})[f"@{cutoff}"] = value
        return format_table(list(rows.values()))
