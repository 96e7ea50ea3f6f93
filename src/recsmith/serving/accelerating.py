"""The weights that a server answers with: as trained, or packed where that was measured to be faster and to answer nearly the same."""

from __future__ import annotations

from dataclasses import replace

from recsmith.decoding import with_weights
from recsmith.recommender import Recommender


class Acceleration:
    """The choice for one fitted model, measured when it is first asked for and used for all that the model grows to."""

    def __init__(self, base: Recommender) -> None:
        """`base`: the recommender as it was fitted."""
        self._base = base
        self._chosen: str | None = None
        self._last: tuple[Recommender, Recommender] | None = None
        self.figures = ""
        """What was chosen and what was measured of it, in a line; empty before."""

    def of(self, recommender: Recommender) -> Recommender:
        """The recommender, or one that it has grown to, with the chosen weights; the same object for the same recommender."""
        if self._chosen is None:
            _, self._chosen, tried = self._base.accelerated()
            times = ", ".join(f"{name} {one.seconds * 1e3:.1f} ms and {one.overlap:.3f} of the items" for name, one in tried.items())
            self.figures = f"{self._chosen} (measured: {times})"
        if self._last is None or self._last[0] is not recommender:
            self._last = recommender, replace(recommender, model=with_weights(recommender.model, self._chosen))
        return self._last[1]
