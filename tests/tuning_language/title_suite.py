"""The suite of models that read titles: every promise of a model that scores, after titles and histories were read."""

from __future__ import annotations

from typing import Any, ClassVar

from recsmith.testing import ScoreModelTests
from recsmith.testing.logs import ITEMS, cycles

TITLES = [f"Chapter {number}" for number in range(ITEMS)]


class TitleModelTests(ScoreModelTests):
    personalised = False  # what each learns is tested beside it, on texts that tell something
    titles: ClassVar[list[str]] = TITLES

    def build(self) -> Any:
        model = super().build()
        model.read(self.titles)
        self.tell(model)
        model.observe(cycles())
        return model

    def tell(self, model: Any) -> None:
        """What the model is to be told besides titles."""
