"""Do explanations speak of the right features? FMR, FCR and DIV of Li et al. (2020, NETE)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from recsmith.errors import DataError
from recsmith.evaluation.as_json import json_ready
from recsmith.evaluation.text.words import words_of


@dataclass(frozen=True)
class FeatureScores:
    """What the texts say about features."""

    fmr: float
    """Feature matching ratio: share of the texts that name the feature they should."""
    fcr: float
    """Feature coverage ratio: share of all features that some text names."""
    div: float
    """Feature diversity: mean number of features that two texts both name; lower is more diverse."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return json_ready(self)


def feature_scores(texts: Sequence[str], wanted: Sequence[str], features: Collection[str]) -> FeatureScores:
    """`wanted` is the feature of each text, `features` all there are; a feature is named where its words stand one after the other.

    Raises `DataError` when the lengths differ or there are no features.
    """
    if len(texts) != len(wanted) or not texts:
        raise DataError(f"{len(texts)} texts for {len(wanted)} wanted features; give one feature per text, and at least one text")
    if not features:
        raise DataError("there are no features to look for; give all features of the data")
    named = [f" {' '.join(words_of(text))} " for text in texts]
    phrases = {feature: f" {' '.join(words_of(feature))} " for feature in {*features, *wanted}}
    matched = sum(phrases[feature] in text for text, feature in zip(named, wanted, strict=True))
    found = Counter(feature for text in named for feature in set(features) if phrases[feature] in text)
    shared = sum(count * (count - 1) / 2 for count in found.values())
    pairs = len(texts) * (len(texts) - 1) / 2
    return FeatureScores(matched / len(texts), len(found) / len(set(features)), shared / pairs if pairs else float("nan"))
