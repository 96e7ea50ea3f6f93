"""L-DiffRec: diffusion of a person's taste in the latent spaces of clusters of items (Wang et al., 2023)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from recsmith.data import Histories
from recsmith.nn.bags import distinct, multinomial_loss, unit_weights
from recsmith.nn.cluster_coders import ClusterDecoder, ClusterEncoder
from recsmith.nn.graph import InteractionGraph
from recsmith.nn.latent import annealed, gaussian_divergence, sample
from recsmith.nn.quantizers import kmeans
from recsmith.nn.row_diffusion import RowDiffusion, RowDiffusionConfig
from recsmith.protocols import HistoryBatch

_SEED = 0
"""Of the clustering, which belongs to the data and not to a run."""


class LDiffRecConfig(RowDiffusionConfig):
    """Sizes, noise and clusters of L-DiffRec."""

    hidden: list[PositiveInt] = Field(default=[300], min_length=1)
    """Widths of the denoising network's hidden layers, from the latent vector inwards; their mirror image leads out."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Share of the noisy latent vector that is zeroed in training."""
    clusters: int = Field(default=2, ge=1)
    """Clusters of items, each with an encoder and a decoder of its own; 1 is a single autoencoder."""
    cluster_dim: int = Field(default=64, ge=1)
    """Length of the item vectors that are clustered."""
    encoder_hidden: int = Field(default=300, ge=1)
    """Width of the hidden layer of each cluster's encoder and decoder."""
    latent: int = Field(default=64, ge=1)
    """Length of the latent vector of each cluster."""
    item_dropout: float = Field(default=0.5, ge=0, lt=1)
    """Share of a history's items hidden from the encoders in training."""
    kl_weight: float = Field(default=0.1, ge=0)
    """Weight of the encoders' KL term once annealing is over."""
    diffusion_weight: float = Field(default=0.1, ge=0)
    """Weight of the diffusion's loss once annealing is over (the paper's λ counts the other way)."""
    annealing_steps: int = Field(default=500, ge=0)
    """Optimiser steps over which both weights grow from 0."""


class LDiffRec(nn.Module):
    """Encodes the items of each cluster as a Gaussian, diffuses and restores the joined latent vectors, decodes cluster by cluster.

    Paper: Wang, Xu, Feng, Lin, He & Chua, "Diffusion Recommender Model", SIGIR 2023, section 3.3. Items are put into clusters, a person's
    row falls into one part per cluster, and the diffusion of DiffRec runs in the joined latent space, which is small whatever the
    catalogue. The loss is the multinomial likelihood of the row decoded from the restored latent vector, the KL term of the encoders, and
    the squared error of the restored vector; all learn together. The answer decodes what the means of the encoders become when they
    go back through all steps.

    Deviations: the clustered item vectors are the main singular directions of the normalised training matrix, where the paper takes
    trained LightGCN vectors; each cluster has a latent vector of the same length instead of one by its size; the first layer of
    an encoder is a sum of item vectors, so no dense row is formed; the clean latent vector is a constant as the target of the squared
    error, which could otherwise fall by shrinking the latent space. Until `observe` items are dealt among the clusters. A training
    step holds the logits `[batch, item]`.
    """

    Config: ClassVar[type[LDiffRecConfig]] = LDiffRecConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"

    clusters: Tensor
    """Cluster of each item, int64 `[item]`."""

    def __init__(self, config: LDiffRecConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.items = items
        self.register_buffer("clusters", torch.arange(items) % config.clusters)
        self.encoder = ClusterEncoder(items, config.clusters, hidden=config.encoder_hidden, latent=2 * config.latent)
        self.denoiser = RowDiffusion(config, width=config.clusters * config.latent)
        self.decoder = ClusterDecoder(items, config.clusters, hidden=config.encoder_hidden, latent=config.latent)

    def observe(self, histories: Histories) -> None:
        """Cluster the items by who had them in the training histories; items that nobody had are dealt among the clusters."""
        graph = InteractionGraph()
        graph.set(torch.from_numpy(histories.values), torch.from_numpy(histories.offsets))
        met = torch.bincount(graph.items, minlength=self.items) > 0
        clusters = torch.arange(self.items) % self.config.clusters
        if int(met.sum()) > self.config.clusters:
            vectors = functional.normalize(graph.item_axes(self.items, dim=self.config.cluster_dim, seed=_SEED), dim=1)
            clusters[met] = kmeans(vectors[met], self.config.clusters, seed=_SEED)[1]
        self.clusters.copy_(clusters)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Negative log-likelihood of the history's items plus the two annealed terms, mean over rows."""
        items, offsets = distinct(batch.items, batch.offsets, size=self.items)
        mean, log_variance = self._encode(items, offsets)
        latent = sample(mean, log_variance, noisy=self.training)
        errors, restored = self.denoiser.losses(latent)
        likelihood = multinomial_loss(self.decoder(restored, self.clusters), items, offsets)
        divergence = gaussian_divergence(mean, log_variance).sum()
        extra = self.config.kl_weight * divergence + self.config.diffusion_weight * errors.sum()
        return (likelihood + annealed(step, self.config.annealing_steps) * extra) / max(len(batch), 1)

    def score(self, batch: HistoryBatch) -> Tensor:
        """Logits `[batch, item]`."""
        mean, _ = self._encode(*distinct(batch.items, batch.offsets, size=self.items))
        return self.decoder(self.denoiser.walk_back(mean), self.clusters)

    def _encode(self, items: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
        """Packed distinct items → mean and log-variance of the joined latent vector, `[batch, cluster · latent]` each."""
        weights = unit_weights(offsets, tokens=len(items), dtype=self.encoder.bias.dtype)
        weights = functional.dropout(weights, self.config.item_dropout, self.training)
        mean, log_variance = self.encoder(items, offsets, weights, self.clusters).chunk(2, dim=2)
        return mean.flatten(1), log_variance.flatten(1)
