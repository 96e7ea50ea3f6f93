"""Two players within one training: whose turn it is, the gradient for choices that cannot be differentiated, and a chooser of negatives.

Letters of the shapes: `token` = positions that predict an item, `negative` = items chosen per token, `pool` = candidates.
"""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from recsmith.config import Config


def is_generators_turn(step: int, *, generator_steps: int, discriminator_steps: int = 1) -> bool:
    """Whether the generator learns at this optimiser step: its steps come first, then the discriminator's, and so on."""
    return step % (generator_steps + discriminator_steps) < generator_steps


def tell_apart(judged: Tensor, real: Tensor, written: Tensor) -> Tensor:
    """The discriminator's binary cross-entropy, summed over the two kinds: `judged` `[row, item]` logits, places int64 `[row, sample]`."""
    return functional.softplus(-judged.gather(1, real)).mean() + functional.softplus(judged.gather(1, written)).mean()


def policy_gradient(log_probabilities: Tensor, rewards: Tensor) -> Tensor:
    """Mean of -(reward - baseline) · log-probability over all choices (REINFORCE, Williams, 1992); both of one shape.

    The baseline is the mean reward and the unit its standard deviation, so that the scale of rewards, which drifts in a game, has no say.
    No gradient flows through the rewards. No choices give 0.
    """
    if not rewards.numel():
        return log_probabilities.sum() * 0
    rewards = rewards.detach().float()
    advantages = (rewards - rewards.mean()) / rewards.std(correction=0).clamp(min=1e-6)
    return -(advantages * log_probabilities).mean()


class AdversaryConfig(Config):
    """Size and reach of `Adversary`."""

    dim: int = Field(16, ge=1)
    """Width of the adversary's item vectors."""
    pool: int = Field(256, ge=2)
    """Candidates of a step, drawn as the model draws its negatives; at least twice the number of negatives is used."""
    temperature: float = Field(1.0, gt=0)
    """Divides the adversary's scores: higher keeps its choices closer to chance."""


class Adversary(nn.Module):
    """Chooses negatives that the model scores high, given the target that they stand against: the generator of KBGAN.

    Paper: Cai & Wang, "KBGAN: Adversarial Learning for Knowledge Graph Embeddings", NAACL 2018 (arXiv:1711.04071). A small factorisation
    scores the candidates, the choice is a draw from their softmax, and the reward of a choice is what it costs the model.

    Deviations: the candidates of a step are one pool for all targets; the reward is softplus of the model's score, in standard deviations
    of the step; negatives that the model shares among all its targets are chosen without regard to any, and a loss that corrects for
    uniform draws goes on doing so, which gives the harder ones more weight.
    """

    def __init__(self, config: AdversaryConfig, *, items: int) -> None:
        super().__init__()
        self.config = config
        self.targets = nn.Embedding(items, config.dim)
        self.anyone = nn.Parameter(torch.zeros(config.dim))
        self.items = nn.Embedding(items, config.dim)
        self.bias = nn.Parameter(torch.zeros(items))
        for vectors in (self.targets.weight, self.items.weight, self.anyone):
            nn.init.normal_(vectors, std=config.dim**-0.5)
        self._chosen: Tensor | None = None
        self._losses: list[Tensor] = []

    def pool_size(self, count: int) -> int:
        """Candidates for `count` choices."""
        return max(self.config.pool, 2 * count)

    def choose(self, pool: Tensor, targets: Tensor | None, *, count: int) -> tuple[Tensor, Tensor]:
        """See `Chooser`."""
        contexts = self.anyone[None] if targets is None else self.targets(targets)
        logits = (contexts @ self.items(pool).T + self.bias[pool]).float() / self.config.temperature
        if targets is not None:
            logits = logits.masked_fill(pool == targets[:, None], -1e9)  # not -inf: a pool of nothing but the target keeps finite shares
        probabilities = logits.detach().softmax(1)
        places = torch.multinomial(probabilities, count, replacement=True)
        self._chosen = logits.log_softmax(1).gather(1, places)
        return (places[0], probabilities[0]) if targets is None else (places, probabilities)

    def hear(self, scores: Tensor, hit: Tensor | None) -> None:
        """See `Chooser`. Scores that do not belong to the last choice are not for us."""
        chosen, self._chosen = self._chosen, None
        if chosen is None or chosen.shape[1] != scores.shape[1] or len(chosen) not in (1, len(scores)):
            return
        rewards = functional.softplus(scores.float())
        counts = torch.ones_like(rewards) if hit is None else (~hit).expand_as(rewards).float()
        if len(chosen) == 1:
            rewards, counts = (
                (rewards * counts).sum(0, keepdim=True) / counts.sum(0, keepdim=True).clamp(min=1),
                counts.amax(0, keepdim=True),
            )
        kept = counts > 0
        self._losses.append(policy_gradient(chosen[kept], rewards[kept]))

    def take_loss(self) -> Tensor | None:
        """The adversary's loss of everything heard since the last call, a scalar; None when nothing was."""
        losses, self._losses, self._chosen = self._losses, [], None
        return torch.stack(losses).mean() if losses else None
