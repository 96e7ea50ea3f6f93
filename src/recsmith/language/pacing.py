"""When to call: requests and tokens a minute, and how long to wait after a failure."""

from __future__ import annotations

import asyncio
import random
import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from pydantic import Field

from recsmith.config import Config


class Retries(Config):
    """What to do when a call fails in a way that may pass."""

    attempts: int = Field(6, ge=1)
    """Calls for one prompt at most, the first included."""
    first_wait: float = Field(0.5, ge=0)
    """Seconds before the second call at most; doubles with each further one."""
    longest_wait: float = Field(120.0, ge=0)
    """Seconds between two calls at most; a longer Retry-After ends the attempts."""

    def wait(self, failures: int, *, asked_for: float | None, random_: random.Random) -> float:
        """Seconds to wait after so many failures (from 1): full jitter, and never less than the endpoint asked for."""
        ceiling = min(self.longest_wait, self.first_wait * 2 ** (failures - 1))
        jitter = random_.uniform(0, ceiling)
        return jitter if asked_for is None else asked_for + min(jitter, self.first_wait)


def retry_after(value: str | None, *, now: datetime | None = None) -> float | None:
    """Seconds of a Retry-After header, given in seconds or as a date; None when absent or unreadable."""
    if value is None:
        return None
    try:
        seconds = float(value)
    except ValueError:
        return _until(value, now or datetime.now(UTC))
    return max(0.0, seconds) if seconds == seconds else None


def _until(value: str, now: datetime) -> float | None:
    try:
        moment = parsedate_to_datetime(value)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


class Pace:
    """So many units a minute, evenly, with bursts of at most `burst` seconds' worth. None does not limit."""

    def __init__(self, per_minute: float | None, *, burst: float = 1.0) -> None:
        self._per_second = None if per_minute is None else per_minute / 60
        self._burst = burst
        self._free_at = -float("inf")

    def book(self, units: float, now: float) -> float:
        """Seconds to wait from `now` before using `units`; books them."""
        if self._per_second is None:
            return 0.0
        start = max(self._free_at, now - self._burst)
        self._free_at = start + units / self._per_second
        return max(0.0, start - now)

    async def wait(self, units: float = 1.0) -> None:
        """Sleep until `units` may be used."""
        seconds = self.book(units, time.monotonic())
        if seconds > 0:
            await asyncio.sleep(seconds)
