"""`Bucket`: so many tokens a second over time, and some of them at once."""

from __future__ import annotations

from collections.abc import Callable


class Bucket:
    """Full at first; `rate` tokens a second flow in, and never more than `capacity` are there."""

    def __init__(self, rate: float, capacity: float, *, clock: Callable[[], float]) -> None:
        self._rate, self._capacity, self._clock = rate, capacity, clock
        self._left, self._at = capacity, clock()

    def take(self) -> float:
        """Take a token: 0 when there was one, else the seconds until there is one, and nothing is taken."""
        now = self._clock()
        self._left = min(self._left + (now - self._at) * self._rate, self._capacity)
        self._at = now
        if self._left < 1:
            return (1 - self._left) / self._rate
        self._left -= 1
        return 0.0
