"""DELRec: what a sequential recommender does, distilled into soft prompts of a language model (Zhang et al., 2024)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.models.retriever import closed_form_retriever
from recsmith.protocols import HistoryBatch
from recsmith.training import TrainingConfig, to_batch, train
from recsmith.tuning_language.candidates import AT_ONCE, CandidateConfig, CandidateModel, followed_events, row_of
from recsmith.tuning_language.network import NetworkConfig
from recsmith.tuning_language.tasks import Case
from recsmith.tuning_language.tuner import TunerConfig
from recsmith.tuning_language.wording import LETTERS


class DelrecConfig(CandidateConfig):
    """Settings of `Delrec`."""

    tasks: str = "delrec"
    """Task set: a name that comes with the library, or the path of a .toml file; its templates `imitate` and `next` are asked."""
    network: NetworkConfig = NetworkConfig()
    """The language model: a small one of one's own, or a folder; decoder-only or not."""
    tuner: TunerConfig = TunerConfig(method="lora", rank=16, scale=32.0, frozen_tokens=10)
    """Low-rank updates of the second stage; `frozen_tokens` are the soft prompts, which learn in the first stage alone."""
    candidates: int = Field(15, ge=2, le=len(LETTERS))
    """Items that are judged; those behind keep the retriever's order."""
    teacher: Literal["sasrec", "gru4rec"] = "sasrec"
    """Sequential recommender whose pattern is distilled."""
    teacher_settings: dict[str, Any] = {}
    """Settings of the teacher."""
    teacher_epochs: int = Field(40, ge=1)
    """Passes of the teacher over the training histories."""
    distil_steps: int = Field(200, ge=0)
    """First stage: optimiser steps of the soft prompts."""
    distil_learning_rate: float = Field(0.02, gt=0)
    """First stage: step size, falling to 0."""
    imitate: float = Field(0.5, ge=0, le=1)
    """First stage: share of questions that ask for the teacher's choice; the others ask what really came before the last item."""


class Delrec(CandidateModel):
    """Stage one: soft prompts before a frozen model learn to name what a sequential recommender would choose, and how histories go on.
    Stage two: the soft prompts are frozen, and low-rank updates learn to name what people took next.

    Paper: "DELRec: distilling sequential pattern to enhance LLMs-based sequential recommendation" (2024).

    Deviations: candidates are the retriever's and are named by letters (paper: random ones, by title); the temporal analysis asks for the
    last item but one out of candidates; plain low-rank updates (paper: AdaLoRA, which spreads the rank over the maps).
    """

    Config: ClassVar[type[DelrecConfig]] = DelrecConfig

    def __init__(self, config: DelrecConfig, *, items: int) -> None:
        if config.tuner.method != "lora" or not config.tuner.frozen_tokens:
            raise ConfigError("DELRec tunes low-rank updates behind soft prompts; set tuner.method = lora and tuner.frozen_tokens above 0")
        super().__init__(config, items=items, retriever=closed_form_retriever(config.retriever, config.retriever_settings, items=items))
        self._distilled: dict[str, Any] = {}

    def extra_words(self) -> list[str]:
        """The letters."""
        return [f" {letter}" for letter in LETTERS] * 10 + [f" ({letter})" for letter in LETTERS] * 10

    def observe(self, histories: Histories) -> None:
        """Make the model, train the teacher, and distil it into the soft prompts; a loaded model stays as it is."""
        super().observe(histories)
        if not self._loaded and self.config.distil_steps:
            self._distil(self._taught(histories), histories)

    def judge(self, histories: Sequence[HistoryBatch], candidates: Sequence[list[int]]) -> list[Tensor]:
        """Log-probability of each candidate's letter."""
        letters = [self.network.tokens(letter) for letter in LETTERS[: max(map(len, candidates))]]
        questions = self.asked([self._case("next", row.items.tolist(), chosen) for row, chosen in zip(histories, candidates, strict=True)])
        parts = [questions[start : start + AT_ONCE] for start in range(0, len(questions), AT_ONCE)]
        with torch.no_grad():
            scores = torch.cat([self.network.choose(part, letters) for part in parts])
        return [row[: len(chosen)] for row, chosen in zip(scores, candidates, strict=True)]

    def draw(self, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """Which of the candidates came next, for random events that something precedes."""
        for row, event in followed_events(batch, max(1, round(self.config.examples * len(batch))), random):
            before, target = row_of(batch, row, before=event), int(batch.items[event])
            chosen = self.presented(before, [target], random)
            yield self._case("next", before.items.tolist(), chosen, target)

    def lessons(self, teacher: nn.Module, batch: HistoryBatch, random: np.random.Generator) -> Iterator[Case]:
        """First stage: what the teacher would choose among candidates, or which item stood before the last one."""
        for row, event in followed_events(batch, len(batch), random):
            before = row_of(batch, row, before=event)
            history = before.items.tolist()
            if random.random() < self.config.imitate or len(history) < 3:
                chosen = self.presented(before, [], random)
                with torch.no_grad():
                    scores = teacher.score(before)[0]  # type: ignore[operator]
                yield (
                    self._case("imitate", history, chosen, chosen[int(scores[chosen].argmax())])
                    if chosen
                    else self._case("next", history, [])
                )
            else:
                target = history[-2]
                chosen = self.presented(row_of(before, 0, before=len(history) - 2), [target], random)
                yield self._case("imitate", history[:-2], chosen, target)

    def figures(self) -> dict[str, Any]:
        """As of every model of titles, and how the distillation went."""
        return {**super().figures(), **self._distilled}

    def _taught(self, histories: Histories) -> nn.Module:
        """The sequential recommender, trained on the training histories."""
        from recsmith.models import MODELS

        make = MODELS.get(self.config.teacher)
        teacher: nn.Module = make(make.Config.parse(self.config.teacher_settings, where="model.teacher_settings"), items=self.items)
        settings = TrainingConfig(epochs=self.config.teacher_epochs, batch_size=128, learning_rate=0.003, max_history=50)
        train(teacher, histories, settings)
        return teacher.cpu().eval()

    def _distil(self, teacher: nn.Module, histories: Histories) -> None:
        """Only the soft prompts learn; then they are frozen for good."""
        prompts = self.network.model.virtual
        learning = [one for one in self.network.parameters() if one.requires_grad]
        for one in learning:
            one.requires_grad_(False)
        prompts.requires_grad_(True)
        optimizer = torch.optim.AdamW([prompts], lr=self.config.distil_learning_rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=self.config.distil_steps)
        random = np.random.default_rng(int(torch.randint(2**62, ()).item()))
        losses = []
        with torch.enable_grad():
            for _ in range(self.config.distil_steps):
                batch = to_batch(histories.take(random.integers(0, len(histories), 16)))
                cases = [case for case in self.lessons(teacher, batch, random) if case.candidates]
                if not cases:
                    continue
                loss = self.network.loss([self.pair(case) for case in cases])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
        prompts.requires_grad_(False)
        for one in learning:
            one.requires_grad_(True)
        tenth = max(1, len(losses) // 10)
        self._distilled = {
            "distilled from": self.config.teacher,
            "first and last loss": [float(np.mean(part)) for part in (losses[:tenth], losses[-tenth:]) if part],
        }

    def _case(self, template: str, history: Sequence[int], candidates: Sequence[int], target: int | None = None) -> Case:
        answer = "" if target is None else LETTERS[list(candidates).index(target)]
        return Case(history=history[-self.config.told_history :], candidates=candidates, words={"answer": answer}, template=template)
