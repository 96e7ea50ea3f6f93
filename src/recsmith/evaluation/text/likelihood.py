"""Perplexity from the log-probabilities that a model gave to the words of a text."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recsmith.errors import DataError


def perplexity(log_probabilities: Sequence[np.ndarray]) -> float:
    """exp of the mean negative log-probability, in nats, over all tokens of all texts; one array `[token]` per text.

    Comparable only between models with one tokenizer. Raises `DataError` for no token, nan, or a log-probability above 0.
    """
    parts = [np.asarray(part, dtype=np.float64).reshape(-1) for part in log_probabilities]
    tokens = np.concatenate(parts) if parts else np.zeros(0)
    if not len(tokens):
        raise DataError("there is no token, so there is no perplexity; give log-probabilities of at least one text")
    if not (tokens <= 1e-9).all():
        raise DataError("log-probabilities must be 0 or less, and no nan; give natural logarithms of probabilities")
    return float(np.exp(-np.mean(tokens)))
