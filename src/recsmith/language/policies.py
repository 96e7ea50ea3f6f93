"""A softmax policy over options, learned from rewards: who chooses what of the evidence stands in a prompt. NumPy alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Choice:
    """One choice among options and what came of it."""

    options: np.ndarray
    """Features of each option, float64 `[option, feature]`."""
    taken: int
    """Which one."""
    probability: float
    """With which it was taken."""
    advantage: float
    """How much better it went than expected."""


class SoftmaxPolicy:
    """p(option) ∝ exp(features · weights), improved by proximal policy optimisation (Schulman et al., 2017): several steps on the same
    choices, with the ratio of new to old probability clipped, so that they do not run away. Starts undecided."""

    def __init__(self, features: int) -> None:
        self.weights = np.zeros(features)

    def probabilities(self, options: np.ndarray) -> np.ndarray:
        """Of each option, `[option]`."""
        scores = options @ self.weights
        shares = np.exp(scores - scores.max())
        found: np.ndarray = shares / shares.sum()
        return found

    def draw(self, options: np.ndarray, random: np.random.Generator) -> tuple[int, float]:
        """An option by its probability, and that probability."""
        shares = self.probabilities(options)
        taken = int(random.choice(len(shares), p=shares))
        return taken, float(shares[taken])

    def best(self, options: np.ndarray) -> int:
        """The most probable option, of equal ones the first."""
        return int((options @ self.weights).argmax())

    def improve(self, choices: Sequence[Choice], *, steps: int = 10, learning_rate: float = 0.3, clip: float = 0.2) -> None:
        """Climb the clipped objective over all choices; a choice whose ratio has left 1 ± `clip` on the good side counts no more."""
        if not choices:
            return
        for _ in range(steps):
            slope = np.zeros_like(self.weights)
            for choice in choices:
                shares = self.probabilities(choice.options)
                ratio = shares[choice.taken] / choice.probability
                if (choice.advantage > 0 and ratio > 1 + clip) or (choice.advantage < 0 and ratio < 1 - clip):
                    continue
                slope += choice.advantage * ratio * (choice.options[choice.taken] - shares @ choice.options)
            self.weights += learning_rate * slope / len(choices)


def advantages(rewards: Sequence[float], *, centred: bool = True) -> list[float]:
    """Rewards less their mean, in units of their spread; not `centred`: in units of their size, where 0 is what doing nothing brings."""
    values = np.asarray(rewards, dtype=np.float64)
    if not len(values):
        return []
    values = values - values.mean() if centred else values
    return (values / max(float(np.sqrt((values**2).mean())), 1e-6)).tolist()
