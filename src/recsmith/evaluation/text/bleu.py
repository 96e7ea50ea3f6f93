"""BLEU, by sacrebleu, with its signature: the same figure as everybody else's, or none."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from recsmith.errors import import_extra
from recsmith.evaluation.as_json import json_ready
from recsmith.evaluation.text.words import check_pairs


@dataclass(frozen=True)
class Bleu:
    """BLEU of a corpus (Papineni et al. 2002)."""

    score: float
    """0 … 100, as sacrebleu gives it."""
    precisions: tuple[float, ...]
    """Of the n-grams from 1 on, 0 … 100."""
    brevity_penalty: float
    signature: str
    """sacrebleu's description of tokenizer, smoothing and version, to be quoted with the score."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return json_ready(self)


def bleu(candidates: Sequence[str], references: Sequence[str], *, order: int = 4) -> Bleu:
    """Corpus BLEU with n-grams up to `order` (BLEU-1 and BLEU-4 are the usual ones); needs the extra `text-metrics`."""
    check_pairs(candidates, references)
    metrics = import_extra("sacrebleu.metrics", extra="text-metrics", purpose="BLEU")
    metric = metrics.BLEU(max_ngram_order=order)
    found = metric.corpus_score(list(candidates), [list(references)])
    return Bleu(found.score, tuple(found.precisions), found.bp, str(metric.get_signature()))
