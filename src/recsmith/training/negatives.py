"""Who chooses the negatives of a model that trains against drawn items: the model's own rule, or an adversary that learns beside it."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from recsmith.errors import ConfigError
from recsmith.nn.adversarial import Adversary, AdversaryConfig
from recsmith.nn.negatives import chosen_by
from recsmith.protocols import HistoryBatch


class NegativesConfig(AdversaryConfig):
    """Where negatives come from; all but `source` are settings of the adversary."""

    source: Literal["model", "adversarial"] = "model"
    """model: as the model's own settings say; adversarial: a small generator picks, from candidates so drawn, those that cost the most."""


class AgainstAdversary(nn.Module):
    """A model and the adversary that chooses its negatives, as one `Differentiable`: the training loop trains both.

    Each has the gradient of its own loss alone; the loss that is reported is the model's. They share the optimiser and its step size.
    """

    def __init__(self, model: Any, adversary: Adversary) -> None:
        super().__init__()
        self.model = model
        self.adversary = adversary
        self.config = model.config
        self._heard = False

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        """The model's loss. Raises `ConfigError` at the first step of a model that draws no negatives."""
        with chosen_by(self.adversary):
            loss = self.model.loss(batch, step)
        own = self.adversary.take_loss()
        if own is None and not self._heard:
            raise no_negatives()
        self._heard = True
        return loss if own is None else loss + (own - own.detach())


def learner_of(model: Any, config: NegativesConfig, *, items: int) -> Any:
    """What is trained in place of `model`: itself, or itself with its adversary. Raises `ConfigError` for a model without gradient."""
    if config.source == "model":
        return model
    if model.learns == "closed-form":
        raise no_negatives()
    return AgainstAdversary(model, Adversary(config, items=items))


def no_negatives() -> ConfigError:
    """The model does not draw negatives."""
    return ConfigError(
        "setting `negatives.source` = 'adversarial' has nothing to choose: this model, as set, draws no negatives; set a loss that does "
        "(sasrec: model.loss=bce, gru4rec: model.loss=bpr-max, hstu: see model.loss) or leave it at 'model'"
    )
