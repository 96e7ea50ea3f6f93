"""`Guard`: watches a newly activated model and says when it does worse than the one before: failures, fallbacks, seconds, clicks.

Failures, fallbacks and seconds are those of its first answers; clicks are looked at again and again while they come in, by a test that
holds at every look. A change from one day to the next is no experiment: what the guard is for is damage that can be seen at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from recsmith.serving.answers import Served
from recsmith.serving.changes import HOUR
from recsmith.serving.config import ServerConfig
from recsmith.serving.experiment_store import Clicks, clicks
from recsmith.serving.store import Store

ALPHA = 0.01
"""Chance, over all looks, of taking a model back that gets as many clicks as the one before."""
MOST_LISTS = 50_000
"""Latest lists of each model whose clicks are counted."""
_NOTICEABLE = 0.05
"""Seconds that a slow answer takes at least."""
_FEW = 20
"""Answers by a model below which its seconds say nothing."""
_FALLBACKS = ("deadline", "overload")


class Watched(NamedTuple):
    """One answer, as far as the guard cares."""

    failed: bool
    fell_back: bool
    seconds: float | None
    """Of answers by the model itself."""


class Guard:
    """Belongs to the event loop, apart from `look`."""

    def __init__(self, config: ServerConfig, model: str, *, tell: Callable[[str], None]) -> None:
        """`tell` is called once with the reason when the model in service must go."""
        self._config, self._tell = config, tell
        self.model, self.before = model, ""
        self.since = 0.0
        self.watching = False
        self.verdict: str | None = None
        """Why a model was taken back last."""
        self._answers = 0
        self._window = self._new_window()
        self._past = self._new_window()
        self._clicks: dict[str, list[Clicks]] = {"now": [], "before": []}

    def begin(self, model: str, *, before: str, now: float, watch: bool) -> None:
        """Another model is in service."""
        self.model, self.before, self.since, self.watching = model, before, now, watch
        self._past, self._window, self._answers = self._window, self._new_window(), 0
        self._clicks = {"now": [], "before": []}

    def observe(self, served: Served, seconds: float) -> None:
        """One answer."""
        if served.model != self.model:
            return
        failed, fell_back = "failure" in served.degraded, any(reason in served.degraded for reason in _FALLBACKS)
        self._window.append(Watched(failed, fell_back, seconds if served.source == "model" else None))
        self._answers += 1
        if self.watching and self._answers <= self._config.guard_answers:
            self._judge()

    def look(self, store: Store, now: float) -> str | None:
        """Whether the model gets fewer clicks than the one before, with the reason. Runs in a thread. Raises `StoreUnavailableError`."""
        config, settle = self._config, self._config.guard_click_seconds
        spans = {"before": (self.before, self.since - HOUR * config.guard_hours, self.since), "now": (self.model, self.since, now)}
        for which, (model, since, until) in spans.items():
            settled = min(until, now - settle)
            kinds = config.guard_kinds
            self._clicks[which] = clicks(store, model, since=since, until=settled, settle=settle, kinds=kinds, most=MOST_LISTS)
        return fewer_clicks(self._clicks["before"], self._clicks["now"], people=config.guard_people, drop=config.guard_clicks)

    def expired(self, now: float) -> bool:
        """Whether the model has been watched for long enough."""
        return now > self.since + HOUR * self._config.guard_hours

    def stop(self, verdict: str | None) -> None:
        """Watch no more."""
        self.watching = False
        self.verdict = verdict or self.verdict

    def document(self) -> dict[str, Any]:
        """The figures of both models."""
        return {
            "watching": self.watching,
            "model": self.model,
            "before": self.before or None,
            "since": self.since or None,
            "verdict": self.verdict,
            "figures": {
                "now": _figures(self._window, self._clicks["now"]),
                "before": _figures(self._past, self._clicks["before"]),
            },
        }

    def _new_window(self) -> deque[Watched]:
        return deque(maxlen=self._config.guard_answers)

    def _judge(self) -> None:
        config = self._config
        failures = sum(answer.failed for answer in self._window)
        reason = None
        if failures > config.guard_failures * config.guard_answers:
            reason = f"{failures} of its first {self._answers} answers failed"
        elif self._answers == config.guard_answers:
            reason = self._more_fallbacks() or self._slower()
        if reason is not None:
            self.stop(reason)
            self._tell(reason)

    def _more_fallbacks(self) -> str | None:
        now, before = _share(self._window), _share(self._past)
        if now <= before + self._config.guard_fallbacks:
            return None
        return f"{now:.1%} of its first answers fell back, before it were {before:.1%}"

    def _slower(self) -> str | None:
        now, before = _slow(self._window), _slow(self._past)
        if now is None or before is None or now <= max(_NOTICEABLE, before * self._config.guard_slower):
            return None
        return f"the 95th percentile of its answers is {1000 * now:.0f} ms, before it was {1000 * before:.0f} ms"


def fewer_clicks(before: Sequence[Clicks], now: Sequence[Clicks], *, people: int, drop: float) -> str | None:
    """The reason when lists lead to something less often than before, by more than the share `drop` and beyond doubt; None else.

    A person's many lists are not independent, so that the unit is the person.
    """
    if min(len(before), len(now)) < max(2, people):
        return None
    from recsmith.serving.experiments.sequential import sequential_test
    from recsmith.serving.experiments.summaries import ratio_moments

    old, new = (ratio_moments(np.array([one.clicked for one in side]), np.array([one.lists for one in side])) for side in (before, now))
    test = sequential_test(old, new, planned=10 * people, alpha=ALPHA, least_units=people)
    if test.high >= 0 or new.mean >= (1 - drop) * old.mean:
        return None
    return f"{new.mean:.2%} of its lists led to something, before it were {old.mean:.2%} (p = {test.p_value:.2g})"


def _share(window: deque[Watched]) -> float:
    return sum(answer.fell_back for answer in window) / len(window) if window else 0.0


def _slow(window: deque[Watched]) -> float | None:
    seconds = [answer.seconds for answer in window if answer.seconds is not None]
    return float(np.quantile(seconds, 0.95)) if len(seconds) >= _FEW else None


def _figures(window: deque[Watched], sides: list[Clicks]) -> dict[str, Any]:
    slow = _slow(window)
    lists = sum(side.lists for side in sides)
    return {
        "answers": len(window),
        "failures": sum(answer.failed for answer in window),
        "fallbacks": sum(answer.fell_back for answer in window),
        "slow_ms": None if slow is None else 1000 * slow,
        "people": len(sides),
        "click_rate": sum(side.clicked for side in sides) / lists if lists else None,
    }
