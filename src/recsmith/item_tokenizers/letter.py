"""`Letter`: an RQ-VAE whose codes also listen to behaviour and are spread evenly (Wang et al., CIKM 2024, arXiv:2405.07314)."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from recsmith.data import Histories, ItemCodes
from recsmith.errors import DataError, UserError
from recsmith.item_tokenizers.collaborative import collaborative_vectors
from recsmith.item_tokenizers.residual import ResidualConfig
from recsmith.item_tokenizers.rq_vae import RqVae, RqVaeConfig
from recsmith.nn.balanced import balanced_kmeans
from recsmith.nn.quantizers import ResidualQuantizer
from recsmith.protocols import Progress
from recsmith.seeding import derive_seed


class LetterConfig(RqVaeConfig):
    """Settings of LETTER: those of the RQ-VAE, and the weights of what it adds."""

    alignment: float = Field(0.02, ge=0)
    """Weight of the contrast between quantized and collaborative vectors; 0 leaves behaviour out."""
    temperature: float = Field(0.1, gt=0)
    """Divisor of the cosines in that contrast."""
    diversity: float = Field(1e-4, ge=0)
    """Weight of the contrast that pulls codes of a cluster together and all others apart; 0 leaves it out."""
    clusters: int = Field(10, ge=1)
    """Clusters of equal size into which the codes of a level are grouped for it, anew each epoch."""


class Letter(RqVae):
    """The RQ-VAE of TIGER with two more terms in its loss (LETTER: Wang et al., 2024).

    * Collaborative alignment: in a batch, the quantized vector of an item is to be most similar to its own collaborative vector.
    * Diversity: a code of an item is to be most similar to a random code of its own cluster, clusters being of equal size, so that
      codes spread evenly and are assigned evenly.

    `observe` hands in the training histories before `fit`; the collaborative vectors are made of them here. New items get
    codes by their texts alone.

    Deviations: collaborative vectors are those of co-occurrence (`collaborative_vectors`) instead of a trained SASRec's or LightGCN's;
    the contrast is of cosines with a temperature; items that no training history holds are left out of it; the training is that of
    `RqVae` with its deviations.
    """

    Config: ClassVar[type[ResidualConfig]] = LetterConfig

    def __init__(self, config: ResidualConfig | None = None) -> None:
        super().__init__(config)
        self._histories: Histories | None = None
        self._collaborative = torch.zeros(0, 0)

    def observe(self, histories: Histories) -> None:
        """The training histories, whose item numbers are the rows of the vectors of the next `fit`."""
        self._histories = histories

    def fit(self, vectors: np.ndarray, *, seed: int, progress: Progress | None = None) -> ItemCodes:
        """As for every item tokenizer; raises `UserError` when no histories were observed, `DataError` when they hold other items."""
        if self._histories is None:
            raise UserError("LETTER aligns codes with behaviour and has seen none; call observe(histories) before fit")
        items = len(vectors)
        if self._histories.values.max(initial=-1) >= items:
            raise DataError(f"the histories hold item {self._histories.values.max()}, but there are vectors of {items} items only")
        dim, seed_of_vectors = self.config.latent, derive_seed(seed, "letter", "collaborative")
        self._collaborative = torch.from_numpy(collaborative_vectors(self._histories, items, dim=dim, seed=seed_of_vectors))
        return super().fit(vectors, seed=seed, progress=progress)

    def _regulariser(self, quantizer: ResidualQuantizer, seed: int) -> _LetterTerms:
        return _LetterTerms(self.config, quantizer, self._collaborative, seed)

    def _more_figures(self, vectors: Tensor) -> dict[str, Any]:
        aligned = self._collaborative.any(1)
        return {**super()._more_figures(vectors), "aligned_items": int(aligned.sum())}


class _LetterTerms:
    def __init__(self, config: Any, quantizer: ResidualQuantizer, collaborative: Tensor, seed: int) -> None:
        self.config = config
        self.quantizer = quantizer
        self.collaborative = collaborative
        self.known = collaborative.any(1)
        self.random = torch.Generator().manual_seed(derive_seed(seed, "letter", "mates"))
        self.seed = derive_seed(seed, "letter", "clusters") >> 1
        self.mates: list[Tensor] = []

    def begin_epoch(self) -> None:
        """Cluster the codes of every level anew."""
        if self.config.diversity:
            self.mates = [self._clusters(codebook.detach().cpu()) for codebook in self.quantizer.codebooks]

    def __call__(self, rows: Tensor, quantized: Tensor, codes: Tensor) -> Tensor:
        loss = quantized.new_zeros(())
        if self.config.alignment:
            loss = loss + self.config.alignment * self._alignment(rows, quantized)
        if self.config.diversity:
            loss = loss + self.config.diversity * self._diversity(codes)
        return loss

    def _alignment(self, rows: Tensor, quantized: Tensor) -> Tensor:
        known = self.known[rows]
        if known.sum() < 2:
            return quantized.new_zeros(())
        behaviour = self.collaborative[rows[known]].to(quantized.device)
        similar = F.normalize(quantized[known.to(quantized.device)], dim=1) @ behaviour.T / self.config.temperature
        return F.cross_entropy(similar, torch.arange(len(similar), device=similar.device))

    def _diversity(self, codes: Tensor) -> Tensor:
        total = torch.zeros((), device=codes.device)
        for codebook, clusters, chosen in zip(self.quantizer.codebooks, self.mates, codes.T, strict=True):
            mates = self._drawn_mates(clusters, chosen.cpu()).to(codes.device)
            similar = codebook[chosen] @ codebook.T
            similar = similar.scatter(1, chosen[:, None], -torch.inf)
            if (mates >= 0).any():
                total = total + F.cross_entropy(similar, mates, ignore_index=-1)
        return total

    def _clusters(self, codebook: Tensor) -> Tensor:
        """Cluster of each code, int64 `[size]`."""
        count = max(1, min(self.config.clusters, len(codebook) // 2))
        return balanced_kmeans(codebook, count, seed=self.seed, iterations=5)[2]

    def _drawn_mates(self, clusters: Tensor, chosen: Tensor) -> Tensor:
        """For each chosen code another code of its cluster, at random; -1 where it has none. int64 `[row]`."""
        size = len(clusters)
        order = clusters.argsort(stable=True)
        place = torch.empty_like(order)
        place[order] = torch.arange(size)
        counts = torch.bincount(clusters)
        starts = counts.cumsum(0) - counts
        cluster = clusters[chosen]
        others = counts[cluster] - 1
        draw = (torch.rand(len(chosen), generator=self.random) * others).long().clamp(max=(others - 1).clamp(min=0))
        own = place[chosen] - starts[cluster]
        return torch.where(others > 0, order[(starts[cluster] + draw + (draw >= own)).clamp(max=size - 1)], -1)
