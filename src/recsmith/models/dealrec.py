"""DEALRec: BIGRec tuned on the few histories that matter and that the language model finds hard (Lin et al., 2024)."""

from __future__ import annotations

from typing import ClassVar

from recsmith.tuning_language.selection import Selective, SelectiveConfig
from recsmith.tuning_language.writing import WritingConfig, WritingModel


class DealrecConfig(WritingConfig, SelectiveConfig):
    """Settings of `Dealrec`."""

    tasks: str = "bigrec"
    """Task set: a name that comes with the library, or the path of a .toml file."""


class Dealrec(Selective, WritingModel):
    """Few-shot tuning of a model that writes titles, on histories chosen by influence and effort so that the range of scores is covered.

    Paper: "Data-efficient fine-tuning for LLM-based recommendation" (SIGIR 2024). `tuning_language.selection.Selective` does the same for
    any model of titles.

    Deviations: one training example, the last event, stands for a history in both scores; the surrogate is a mean of item vectors with the
    last one (paper: SASRec or another); conjugate gradients where the paper sums a series; the effort score is that of the weights that
    learn.
    """

    Config: ClassVar[type[DealrecConfig]] = DealrecConfig
