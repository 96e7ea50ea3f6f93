"""List-CVAE: whole slates generated from a latent vector and the response that is wanted (Jiang et al., 2019)."""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from recsmith.config import Config
from recsmith.nn.latent import annealed, draw, gaussian_divergence, sample
from recsmith.nn.slate_vae import GaussianHead, SlateVaeConfig, SlotDecoder, slate_vectors, slot_loss
from recsmith.nn.slates import SlateReader
from recsmith.protocols import HistoryBatch


class ListCvaeConfig(SlateVaeConfig):
    """Sizes, regularisation and annealing of List-CVAE."""


class ListCvae(nn.Module):
    """A conditional VAE of slates: q(z | slate, condition), a learned prior p(z | condition), and a softmax over the items for every slot.

    Paper: Jiang, Gowal, Mann & Rezende, "Beyond Greedy Ranking: Slate Optimization via List-CVAE", ICLR 2019. The condition is the person
    and the response to the slate; to answer, a click on every slot is put in. Slots do not know each other but through z: what
    makes a slate coherent is that z stands for all of it.

    Deviations: the response is the clicks slot by slot, where the paper sums them (with one click a page, a page clicked all over has
    never been seen, but a clicked slot has). The person is the recurrent state of earlier clicks, so that strangers are served. Answers
    under rules and without repetition take slot after slot from the same decoder (the paper allows repetitions); z is the prior's mean
    unless a slate is drawn; slots beyond those of training repeat the last one. `score` is the first slot's.
    """

    Config: ClassVar[type[Config]] = ListCvaeConfig
    answers: ClassVar[Literal["scores"]] = "scores"
    learns: ClassVar[Literal["gradient"]] = "gradient"
    conditioned: ClassVar[bool] = True

    def __init__(self, config: ListCvaeConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.reader = SlateReader(config, items=items)
        self.bias = nn.Parameter(torch.zeros(items))
        condition = config.dim + config.slate
        self.prior = GaussianHead(condition, config.hidden, config.latent)
        self.posterior = GaussianHead(config.slate * config.dim + condition, config.hidden, config.latent)
        self.decoder = SlotDecoder(config.latent + config.dim, config.hidden, size=config.slate, dim=config.dim, responses=True)

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """Negative log-likelihood of the slates plus the annealed divergence, mean over slates; 0 for a batch without events."""
        slates = self.reader.slates(batch, shifted=self.training)
        if not len(slates):
            return self.bias.sum() * 0
        person = self.reader.before(slates, batch)
        condition = torch.cat([person, slates.clicks], 1)
        prior = self.prior(condition)
        mean, log_variance = self.posterior(torch.cat([slate_vectors(self.reader.items, slates), condition], 1))
        outputs = self.decoder(torch.cat([sample(mean, log_variance, noisy=self.training), person], 1), slates.clicks)
        likelihood = slot_loss(outputs, slates, slates.filled, self.reader.items.weight, self.bias)
        weight = self.config.kl_weight * annealed(step, self.config.annealing_steps)
        return likelihood + weight * gaussian_divergence(mean, log_variance, prior).mean()

    def open_slate(self, batch: HistoryBatch, size: int, generator: torch.Generator | None, *, wanted: float = 1.0) -> Tensor:
        """The output vectors of all slots, `[batch, slot, dim]`."""
        person = self.reader.after(batch)
        clicks = person.new_full((len(batch), self.config.slate), wanted)
        latent = draw(*self.prior(torch.cat([person, clicks], 1)), generator=generator)
        return self.decoder(torch.cat([latent, person], 1), clicks)

    def slot(self, state: Tensor, chosen: Tensor) -> Tensor:
        """Logits of the next slot, `[batch, item]`."""
        return state[:, min(chosen.shape[1], self.config.slate - 1)] @ self.reader.items.weight.T + self.bias

    def score(self, batch: HistoryBatch) -> Tensor:
        """`[batch, item]`: the logits of the first slot of the best slate."""
        return self.slot(self.open_slate(batch, 1, None), batch.items.new_zeros(len(batch), 0))
