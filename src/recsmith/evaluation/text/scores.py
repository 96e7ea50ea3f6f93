"""Every text measure that needs nothing but texts and references, in one call, values per text kept."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import numpy as np

from recsmith.evaluation.tables import format_table
from recsmith.evaluation.text.bleu import bleu
from recsmith.evaluation.text.features import feature_scores
from recsmith.evaluation.text.rouge import KINDS, rouge
from recsmith.evaluation.text.similarity import sentence_similarity, token_similarity, word_encoder
from recsmith.evaluation.text.variety import distinct, unique_sentence_ratio
from recsmith.protocols import Encode


@dataclass(frozen=True)
class TextScores:
    """Measures of one system's texts."""

    metrics: dict[str, float]
    per_text: dict[str, np.ndarray]
    """Measures that are means over texts → their values, float64 `[text]`; ready for `compare_with_baseline`."""
    texts: int
    seconds: float
    notes: dict[str, str] = field(default_factory=dict)
    """What must be quoted with a figure: BLEU's signature."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON, without the values per text."""
        return {"metrics": self.metrics, "texts": self.texts, "seconds": round(self.seconds, 3), "notes": self.notes}

    def table(self) -> str:
        """Plain text, one row per measure."""
        return format_table([{f"{self.texts} texts": name, "value": value} for name, value in self.metrics.items()])


def score_texts(
    candidates: Sequence[str],
    references: Sequence[str],
    *,
    encode: Encode | None = None,
    wanted: Sequence[str] | None = None,
    features: Collection[str] | None = None,
) -> TextScores:
    """BLEU-1 and BLEU-4 (0 … 100), ROUGE (0 … 1), distinct-1 and -2, USR, mean length; with `encode`, likeness of texts and words;
    with `wanted` and `features`, FMR, FCR and DIV. Raises `DataError` when the lengths differ, `MissingExtraError` without sacrebleu."""
    started = perf_counter()
    overlap = rouge(candidates, references)
    per_text = {kind: overlap[kind] for kind in KINDS}
    if encode is not None:
        per_text["sentence similarity"] = sentence_similarity(candidates, references, encode)
        matched = token_similarity(candidates, references, word_encoder(encode))
        per_text |= {f"word similarity {name}": values for name, values in matched.items()}
    both = {order: bleu(candidates, references, order=order) for order in (1, 4)}
    metrics = {f"BLEU-{order}": found.score for order, found in both.items()}
    metrics |= {name: float(values.mean()) for name, values in per_text.items()}
    metrics |= {f"distinct-{n}": distinct(candidates, n) for n in (1, 2)}
    metrics |= {"USR": unique_sentence_ratio(candidates), "words": float(np.mean([len(text.split()) for text in candidates]))}
    if wanted is not None and features is not None:
        found = feature_scores(candidates, wanted, features)
        metrics |= {"FMR": found.fmr, "FCR": found.fcr, "DIV": found.div}
    notes = {"BLEU": both[4].signature}
    return TextScores(metrics, per_text, len(candidates), perf_counter() - started, notes)
