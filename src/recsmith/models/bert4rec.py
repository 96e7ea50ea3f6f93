"""BERT4Rec: a transformer that sees both sides fills masked places of the history (Sun et al., 2019, arXiv:1904.06690)."""

from __future__ import annotations

from typing import ClassVar, Literal

from recsmith.config import Config
from recsmith.nn.masked_sequence import MaskedSequence, MaskedSequenceConfig


class Bert4RecConfig(MaskedSequenceConfig):
    """Size, masking and regularisation of BERT4Rec."""


class Bert4Rec(MaskedSequence):
    """Scores an item by the inner product of its vector with what a mask behind the last event is filled with, plus a bias.

    Input and output share the item vectors. A training step masks random events and holds no `[token, item]`; answering holds
    `[batch, item]`. The empty history is a mask alone, which training rows of one event teach.

    Deviations from the paper: each event is masked independently, at least one per row, anew at every visit of a row; rows in which
    only the last event is masked are drawn at the rate `last_share`; no padding, so attention sees true events alone;
    the output layer ends in a layer norm, as BERT's does; normal weights without truncation.
    """

    Config: ClassVar[type[Config]] = Bert4RecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
