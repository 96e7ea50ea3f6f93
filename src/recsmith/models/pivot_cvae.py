"""Pivot-CVAE: a pivot item is chosen first, and a conditional VAE builds the rest of the slate around it (Liu et al., 2021)."""

from __future__ import annotations

from typing import ClassVar, Literal, NamedTuple

import torch
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.latent import annealed, draw, gaussian_divergence, sample
from recsmith.nn.losses import fused_cross_entropy
from recsmith.nn.slate_vae import GaussianHead, SlateVaeConfig, SlotDecoder, slate_vectors, slot_loss
from recsmith.nn.slates import SlateReader
from recsmith.protocols import HistoryBatch


class PivotCvaeConfig(SlateVaeConfig):
    """Sizes, regularisation and annealing of Pivot-CVAE."""

    pivots: Literal["true", "sampled"] = "true"
    """Whether training conditions on the slate's own pivot or on one drawn from the pivot model, as an answer would have it."""


class _Open(NamedTuple):
    """Slates being filled."""

    person: Tensor
    """State of the history, `[batch, dim]`."""
    clicks: Tensor
    """The response to each slot, `[batch, slate]`."""
    latent: Tensor
    """`[batch, latent]`."""


class PivotCvae(nn.Module):
    """The pivot is the item of the first slot: softmax over the items given person and response. The other slots are decoded from z, the
    condition and the vector of the pivot, all at once.

    Paper: Liu, Sun, Ge, Pei & Zhang, "Variation Control and Evaluation for Generative Slate Recommendations", WWW 2021. A
    slate-CVAE either reproduces slates or repeats few of them; with a pivot in the condition, slates vary with the pivot even where z says
    little. `pivots` chooses between the paper's ground-truth pivots (GT-PI) and drawn ones (PI) in training.

    Deviations: as in `ListCvae`, the person is a recurrent state, the prior is learned, slots are filled without repetition, and slots
    beyond those of training repeat the last one; the pivot model is trained together with the rest. `score` is the pivot's.
    """

    Config: ClassVar[type[Config]] = PivotCvaeConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    conditioned: ClassVar[bool] = True

    def __init__(self, config: PivotCvaeConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.reader = SlateReader(config, items=items)
        self.bias = nn.Parameter(torch.zeros(items))
        condition = config.dim + config.slate
        self.pivot = SlotDecoder(config.dim, config.hidden, size=1, dim=config.dim, responses=True)
        self.prior = GaussianHead(condition, config.hidden, config.latent)
        self.posterior = GaussianHead(config.slate * config.dim + condition, config.hidden, config.latent)
        others = max(config.slate - 1, 1)
        self.decoder = SlotDecoder(config.latent + 2 * config.dim, config.hidden, size=others, dim=config.dim, responses=True)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Negative log-likelihood of pivots and slates plus the annealed divergence, mean over slates; 0 for a batch without events."""
        slates = self.reader.slates(batch, shifted=self.training)
        if not len(slates):
            return self.bias.sum() * 0
        table = self.reader.items.weight
        person, clicks, pivots = self.reader.before(slates, batch), slates.clicks, slates.items[:, 0]
        condition = torch.cat([person, clicks], 1)
        first = self.pivot(person, clicks[:, :1])[:, 0]
        mean, log_variance = self.posterior(torch.cat([slate_vectors(self.reader.items, slates), condition], 1))
        latent = sample(mean, log_variance, noisy=self.training)
        given = self._drawn(first) if self.config.pivots == "sampled" and self.training else pivots
        around = self._around(_Open(person, clicks, latent), given)
        outputs = torch.cat([first[:, None], around], 1)[:, : self.config.slate]
        rest = slates.filled.clone()
        rest[:, 0] = False
        likelihood = fused_cross_entropy(first, table, pivots, bias=self.bias) + slot_loss(outputs, slates, rest, table, self.bias)
        weight = self.config.kl_weight * annealed(step, self.config.annealing_steps)
        return likelihood + weight * gaussian_divergence(mean, log_variance, self.prior(condition)).mean()

    def open_slate(self, batch: HistoryBatch, size: int, generator: torch.Generator | None, *, wanted: float = 1.0) -> _Open:
        """What a pivot and the slots around it are decoded from."""
        person = self.reader.after(batch)
        clicks = person.new_full((len(batch), self.config.slate), wanted)
        return _Open(person, clicks, draw(*self.prior(torch.cat([person, clicks], 1)), generator=generator))

    def slot(self, state: _Open, chosen: Tensor) -> Tensor:
        """Logits of the pivot, or of the next slot around it, `[batch, item]`."""
        if chosen.shape[1] == 0:
            outputs = self.pivot(state.person, state.clicks[:, :1])[:, 0]
        else:
            around = self._around(state, chosen[:, 0])
            outputs = around[:, min(chosen.shape[1], around.shape[1]) - 1]
        return outputs @ self.reader.items.weight.T + self.bias

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: the logits of the pivot of the best slate."""
        return self.slot(self.open_slate(batch, 1, None), batch.items.new_zeros(len(batch), 0))

    def _around(self, state: _Open, pivots: Tensor) -> Tensor:
        """Output vectors of the slots after the pivot, `[slate, slot, dim]`."""
        inputs = torch.cat([state.latent, state.person, self.reader.items(pivots)], 1)
        return self.decoder(inputs, state.clicks[:, 1:] if self.config.slate > 1 else state.clicks)

    @torch.no_grad()
    def _drawn(self, first: Tensor) -> Tensor:
        """A pivot for each slate, from the pivot model."""
        return (first @ self.reader.items.weight.T + self.bias).softmax(1).multinomial(1)[:, 0]
