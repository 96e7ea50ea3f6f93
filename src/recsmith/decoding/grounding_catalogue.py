"""`catalogue_grounding`: the cascade for titles of a catalogue: exact, then fuzzy, then by meaning where there is an encoder."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsmith.decoding.grounding import Grounding, Matcher
from recsmith.decoding.grounding_embedding import EmbeddingMatcher
from recsmith.decoding.grounding_exact import ExactMatcher
from recsmith.decoding.grounding_fuzzy import FuzzyMatcher
from recsmith.protocols import Encode


def catalogue_grounding(
    titles: Sequence[str],
    *,
    popularity: np.ndarray | None = None,
    encode: Encode | None = None,
    encode_queries: Encode | None = None,
) -> Grounding:
    """Grounding in `titles`, one per item. `encode` embeds all of them at once here, `encode_queries` (None: `encode` too) later what
    spelling does not know.

    Of several items with one title the more popular wins (`popularity`, events per item in training).
    """
    spelling: list[Matcher] = [ExactMatcher(titles, popularity=popularity), FuzzyMatcher(titles, popularity=popularity)]
    if encode is None or not len(titles):
        return Grounding(spelling)
    return Grounding(spelling, last=EmbeddingMatcher(encode(list(titles)), encode_queries or encode, titles=titles))
