"""The recommender whose vectors a language model reads: a model of this library that learns by gradient from events alone."""

from __future__ import annotations

from typing import Any, ClassVar

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.tuning_language.candidates import CandidateModel
from recsmith.tuning_language.collaborative import CollaborativeConfig, CollaborativePart
from recsmith.tuning_language.shared_prompts import require_decoder_only


def collaborator(config: CollaborativeConfig, *, items: int) -> CollaborativePart:
    """An unfitted part. Raises `ConfigError` for a model that cannot be one."""
    from recsmith.models import MODELS

    make: Any = MODELS.get(config.name)
    fits = make.answers == "scores" and make.learns == "gradient" and not getattr(make, "reads", ())
    if not fits or not all(hasattr(make, name) for name in ("queries", "answer_vectors")):
        raise ConfigError(
            f"collaborative model `{config.name}` does not fit: it must learn by gradient from events alone and score by inner products; "
            "for example sasrec, gru4rec or lrurec"
        )
    settings = make.Config.parse(config.settings, where="model.collaborative.settings")
    return CollaborativePart(make(settings, items=items), config.training)


class OverRecommender(CandidateModel):
    """A ranker of candidates whose language model reads the vectors of a recommender that is fitted first."""

    called: ClassVar[str]
    """What errors call the system."""
    collaborative: CollaborativePart
    _goes_on = False
    """Whether it was loaded before it observed: the stages of learning are behind it."""

    def observe(self, histories: Histories) -> None:
        """Fit the recommender; then as every ranker of candidates. A loaded model stays as it is."""
        self._goes_on = self._loaded
        if not self._loaded:
            self.collaborative.fit(histories)
        super().observe(histories)
        require_decoder_only(self.network, who=self.called)
