"""What a model starts from instead of random weights: item vectors of an encoder, or the weights of an earlier run."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import nn

from recsmith.config import Config
from recsmith.errors import ConfigError
from recsmith.seeding import generator


class StartConfig(Config):
    """Where the first weights come from."""

    items: Literal["random", "pca", "random-projection"] = "random"
    """Item embedding: random, or the encoder's vectors brought to its width by principal components or by a random projection."""
    item_std: float = Field(0.02, gt=0)
    """Standard deviation of the numbers of item vectors made from the encoder's."""
    run: str | None = None
    """Folder of an earlier run of the same model whose weights are taken over where they fit (transfer)."""


def start_items(model: nn.Module, vectors: np.ndarray, config: StartConfig, *, seed: int) -> None:
    """Overwrite the embedding `model.items` `[item, dim]` by `vectors` `[item, any]`, reduced as `config.items` says and centred.

    The way of LLM2BERT4Rec (Harte et al., RecSys 2023). Raises `ConfigError` for a model without such an embedding.
    """
    embedding: Any = getattr(model, "items", None)
    if not isinstance(embedding, nn.Embedding) or len(embedding.weight) != len(vectors):
        raise ConfigError(
            f"setting `start.items` = {config.items!r} needs a model with an embedding of the items, which {type(model).__name__} has not; "
            "leave it at `random`, or use a model such as sasrec, gru4rec or bert4rec"
        )
    reduced = _reduced(vectors, embedding.embedding_dim, config.items, seed)
    reduced *= config.item_std / max(float(reduced.std()), 1e-12)
    with torch.no_grad():
        embedding.weight.copy_(torch.from_numpy(reduced))


def _reduced(vectors: np.ndarray, dim: int, kind: str, seed: int) -> np.ndarray:
    """Centred vectors `[item, dim]`; directions that the vectors do not have stay 0."""
    centred = np.asarray(vectors, dtype=np.float64) - vectors.mean(axis=0, dtype=np.float64)
    if kind == "random-projection":
        directions = generator(seed, "random projection").standard_normal((centred.shape[1], dim)) / np.sqrt(dim)
    else:
        directions = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :dim]
    found = centred @ directions
    return np.ascontiguousarray(np.pad(found, ((0, 0), (0, dim - found.shape[1]))), dtype=np.float32)
