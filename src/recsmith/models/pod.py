"""POD: the words of task templates distilled into a few continuous vectors per task (Li et al., 2023)."""

from __future__ import annotations

from typing import ClassVar

from recsmith.tuning_language.task_vectors import TaskVectors, TaskVectorsConfig
from recsmith.tuning_language.tasks import Family


class PodConfig(TaskVectorsConfig):
    """Settings of `Pod`."""

    tasks: str = "pod"
    """Task set: a name that comes with the library, or the path of a .toml file."""
    mix: dict[Family, float] = {"sequential": 2.0, "direct": 3.0, "explanation": 1.0}
    """Examples of each task family per history of a batch, when its turn comes."""


class Pod(TaskVectors):
    """Sequential and top-N recommendation and explanation, each asked by its vectors and ids alone once trained.

    Paper: "Prompt distillation for efficient LLM-based recommendation" (CIKM 2023). In training a task's vectors stand before worded
    templates and before ids alone, so that they learn what the words say; answering needs no words, and its questions are shorter. Tokens
    of one id share a whole-word embedding, and each step trains one task (task-alternated training).

    Deviations: a small decoder-only model of one's own unless `network` names another (paper: T5-small), of which each item of a history
    is a target; the share of questions without words is that of their templates; item ids by the recipe's tokenizer.
    """

    Config: ClassVar[type[PodConfig]] = PodConfig
    reads: ClassVar[tuple[str, ...]] = ("reviews",)
