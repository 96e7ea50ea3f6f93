"""TALLRec: a language model tuned to say yes or no to one item, given what pleased before (Bao et al., RecSys 2023)."""

from __future__ import annotations

from typing import ClassVar

from recsmith.models.retriever import closed_form_retriever
from recsmith.tuning_language.yes_no_model import YesNoConfig, YesNoModel


class TallrecConfig(YesNoConfig):
    """Settings of `Tallrec`."""

    tasks: str = "tallrec"
    """Task set: a name that comes with the library, or the path of a .toml file."""


class Tallrec(YesNoModel):
    """The probability of "Yes" orders the candidates of a retriever; `likes` gives it for any person and item.

    Paper: "TALLRec: an effective and efficient tuning framework to align large language model with recommendation" (RecSys 2023). The
    paper's first stage, general instructions, is the folder's business; an own model reads item texts and histories instead, and with
    `question_steps` practises the questions with all its weights before low-rank updates are tuned.

    Deviations: label "taken" for logs without ratings; candidates by a retriever, where the paper measures AUC alone; the loss compares
    the two answers, where the paper's runs over all words; several questions about one history share its reading, none sees another.
    """

    Config: ClassVar[type[TallrecConfig]] = TallrecConfig

    def __init__(self, config: TallrecConfig, *, items: int) -> None:
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
