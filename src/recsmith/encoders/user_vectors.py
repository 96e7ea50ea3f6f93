"""People as vectors: histories of item vectors become one vector a person, or one for each of several interests."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pydantic import Field

from recsmith.config import Config
from recsmith.data import Histories
from recsmith.nn.history_weights import attention_weights, recency_weights, weighted_sum


class UserVectorConfig(Config):
    """How a history becomes vectors."""

    pooling: Literal["mean", "recency", "attention"] = "recency"
    """mean; recency: events fade with their distance from the end; attention: events like the last one count more."""
    fade: float = Field(0.8, ge=0, le=1)
    """recency: weight of an event relative to the event after it."""
    temperature: float = Field(0.1, gt=0)
    """attention: divisor of the cosines with the last event; smaller: fewer events count."""
    max_history: int = Field(50, ge=1)
    """Events of a history that are read, counted from its end."""
    interests: int = Field(1, ge=1)
    """Most vectors a person; more than one groups the events as PinnerSage does (Pal et al., KDD 2020)."""
    apart: float = Field(1.0, gt=0)
    """Growth of within-group variance (Ward) at which events stay in groups of their own; smaller: more interests."""


@dataclass(frozen=True)
class UserVectors:
    """Vectors of people, the interests of a person side by side, the one with the greatest weight first."""

    vectors: np.ndarray
    """float32 `[vector, dim]`, each of length 1."""
    rows: np.ndarray
    """Row of the histories that each vector belongs to, ascending; people without events have none. int64 `[vector]`."""


def user_vectors(histories: Histories, item_vectors: np.ndarray, config: UserVectorConfig | None = None) -> UserVectors:
    """`item_vectors` float32 `[item, dim]` → the vectors of the people behind `histories`."""
    config = config or UserVectorConfig()
    kept = histories.tail(config.max_history)
    weights = _event_weights(kept, item_vectors, config)
    if config.interests > 1:
        return _interests(kept, item_vectors, weights, config)
    vectors = torch.as_tensor(item_vectors[kept.values], dtype=torch.float32)
    pooled = weighted_sum(vectors, torch.from_numpy(weights), torch.from_numpy(kept.offsets)).numpy()
    rows = np.flatnonzero(kept.lengths)
    return UserVectors(_unit(pooled[rows]), rows)


def _event_weights(kept: Histories, item_vectors: np.ndarray, config: UserVectorConfig) -> np.ndarray:
    """float32 `[event]`, 1 in total for each row."""
    offsets = torch.from_numpy(kept.offsets)
    if config.pooling != "attention":
        fade = config.fade if config.pooling == "recency" else 1.0
        return recency_weights(offsets, tokens=len(kept.values), fade=fade).numpy()
    queries = np.zeros((len(kept), item_vectors.shape[1]), dtype=np.float32)
    filled = np.flatnonzero(kept.lengths)
    queries[filled] = item_vectors[kept.values[kept.offsets[1:][filled] - 1]]
    events = torch.as_tensor(item_vectors[kept.values], dtype=torch.float32)
    return attention_weights(events, torch.from_numpy(queries), offsets, temperature=config.temperature).numpy()


def _interests(kept: Histories, item_vectors: np.ndarray, weights: np.ndarray, config: UserVectorConfig) -> UserVectors:
    """Ward clusters of each row's events; a cluster counts with the sum of its events' weights.

    Deviation from PinnerSage: a cluster is represented by its weighted mean, not by its medoid.
    """
    found: list[np.ndarray] = []
    rows: list[int] = []
    for row in range(len(kept)):
        part = slice(kept.offsets[row], kept.offsets[row + 1])
        vectors, shares = item_vectors[kept.values[part]], weights[part]
        if not len(vectors):
            continue
        groups = _groups(vectors, config.apart)
        totals = np.bincount(groups, weights=shares)
        for group in np.argsort(-totals, kind="stable")[: config.interests]:
            chosen = groups == group
            found.append(shares[chosen] @ vectors[chosen])
            rows.append(row)
    vectors = np.array(found, dtype=np.float32).reshape(-1, item_vectors.shape[1])
    return UserVectors(_unit(vectors), np.array(rows, dtype=np.int64))


def _groups(vectors: np.ndarray, apart: float) -> np.ndarray:
    """Number of the group of each vector, from 0."""
    if len(vectors) == 1:
        return np.zeros(1, dtype=np.int64)
    from scipy.cluster.hierarchy import fcluster, linkage

    return fcluster(linkage(vectors.astype(np.float64), method="ward"), apart, criterion="distance") - 1


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
