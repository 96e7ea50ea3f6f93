"""LLM4DSR: a language model finds the events of a history that do not belong there and says what would (Wang et al., 2024)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from pydantic import Field

from recsmith.config import Config
from recsmith.data import Histories, ItemCodes
from recsmith.decoding.grounding_distance import distance_scores
from recsmith.errors import DataError
from recsmith.language.untrusted import plain_line
from recsmith.protocols import Progress
from recsmith.tuning_language.network import LanguageNetwork, NetworkConfig, Pair
from recsmith.tuning_language.tasks import Case, load_tasks
from recsmith.tuning_language.tuner import TunerConfig
from recsmith.tuning_language.wording import Wording

_AT_ONCE = 128
_ANSWERS = ("Yes", "No")


class Llm4DsrConfig(Config):
    """The language model, what it is tuned on, and how sure it must be."""

    network: NetworkConfig = NetworkConfig()
    """The language model: a small one of one's own, or a folder."""
    tuner: TunerConfig = TunerConfig(method="lora", rank=16, scale=32.0)
    """What of it learns once it can read."""
    tasks: str = "llm4dsr"
    """Task set: a name that comes with the library, or the path of a .toml file; its templates `noise` and `instead` are asked."""
    window: int = Field(8, ge=3)
    """Events of a history that are judged together."""
    max_title: int = Field(20, ge=2)
    """Tokens of an item's words, at most."""
    pretrain_steps: int = Field(300, ge=0)
    """Own model: optimiser steps on titles and histories before tuning."""
    steps: int = Field(400, ge=1)
    """Optimiser steps of tuning."""
    batch_size: int = Field(32, ge=1)
    """Histories of a step, each with and without a foreign event."""
    learning_rate: float = Field(0.003, gt=0)
    """Step size of tuning, falling to 0."""
    threshold: float = Field(0.5, gt=0, le=1)
    """Probability of being foreign from which an event is replaced."""


class Llm4Dsr:
    """Tuned to name the foreign event of histories in which one was exchanged, then shown the real histories; what it is sure about is
    replaced.

    Paper: "LLM4DSR: leveraging large language model for denoising sequential recommendation" (2024): self-supervised tuning on histories
    with a random item put in, replacement in the model's own words grounded in the catalogue, and the probability of being noise as
    uncertainty. The rewritten histories take the place of the training histories; what is held out, and every statistic, stays as it is.

    Deviations: the model is asked of each event, beside the others of its window, whether it is foreign there, and the probability of yes
    is the paper's uncertainty (there the model names the noise of a whole history, and is asked again); several events of a window are
    replaced one by one.
    """

    Config: ClassVar[type[Llm4DsrConfig]] = Llm4DsrConfig
    reads: ClassVar[tuple[str, ...]] = ("texts",)

    def __init__(self, config: Llm4DsrConfig) -> None:
        self.config = config
        self.texts: list[str] = []
        self._figures: dict[str, Any] = {}

    def read(self, texts: Sequence[str]) -> None:
        """The items' own words, one text per item."""
        self.texts = list(texts)

    def write(self, train: Histories, *, items: int, seed: int, progress: Progress | None = None) -> tuple[Histories, np.ndarray]:
        """See `Augmenter`: all histories, with foreign events replaced, to stand instead of the training histories."""
        if len(self.texts) != items:
            raise DataError("llm4dsr has read no item texts; fit it on data with a catalogue that has titles")
        random = np.random.default_rng(seed)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            denoiser = _Denoiser(self.config, self.texts, train, random)
            losses = denoiser.tune(progress)
        values, noise = denoiser.rewritten()
        tenth = max(1, len(losses) // 10)
        self._figures = {
            "instead": True,
            "replaced": int((values != train.values).sum()),
            "of": len(values),
            "highest probability of being foreign": float(noise.max(initial=0.0)),
            "first and last loss": [float(np.mean(losses[:tenth])), float(np.mean(losses[-tenth:]))],
        }
        return Histories(values, train.offsets), np.zeros(len(values), dtype=np.int64)

    def figures(self) -> dict[str, Any]:
        """How many events were replaced, and that the result stands instead of the training histories."""
        return self._figures


class _Denoiser:
    """One language model and the histories that it is tuned on and rewrites."""

    def __init__(self, config: Llm4DsrConfig, texts: Sequence[str], train: Histories, random: np.random.Generator) -> None:
        self.config, self.train, self.random = config, train, random
        self.tasks = load_tasks(config.tasks)
        self.known = np.unique(train.values)
        self.network = LanguageNetwork(config.network, config.tuner)
        self.network.make([*self.tasks.words(), *[f" {answer}" for answer in _ANSWERS] * 10, *texts], tune=False)
        nothing = ItemCodes(np.zeros((len(texts), 0), dtype=np.int64), ())
        self.wording = Wording(self.network, nothing, people=0, titles=[plain_line(text) for text in texts], max_title=config.max_title)
        if config.network.folder is None and config.pretrain_steps:
            self._pretrain(len(texts))
        self.network.tune()

    def tune(self, progress: Progress | None) -> list[float]:
        """Low-rank updates learn to find what was put in, and what stood there; the loss of each step."""
        config = self.config
        optimizer = torch.optim.AdamW([one for one in self.network.parameters() if one.requires_grad], lr=config.learning_rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, total_iters=config.steps)
        losses = []
        self.network.train()
        with torch.enable_grad():
            for step in range(config.steps):
                optimizer.zero_grad()
                found, replaced = self._lessons()
                loss = self.network.loss(found) + self.network.loss(replaced)
                loss.backward()
                optimizer.step()
                schedule.step()
                losses.append(loss.item())
                if progress is not None:
                    progress("tuning the denoiser", step + 1, config.steps)
        self.network.eval()
        return losses

    @torch.no_grad()
    def rewritten(self) -> tuple[np.ndarray, np.ndarray]:
        """The events with foreign ones replaced, and the probability that each is foreign; both `[event]`."""
        values, noise = self.train.values.copy(), np.zeros(len(self.train.values))
        windows = [
            (start, min(start + self.config.window, int(stop)))
            for first, stop in pairwise(self.train.offsets.tolist())
            for start in range(first, stop, self.config.window)
        ]
        windows = [(start, stop) for start, stop in windows if stop - start >= 3]
        asked = [(place, values[start:stop].tolist(), place - start) for start, stop in windows for place in range(start, stop)]
        choices = [self.network.tokens(answer) for answer in _ANSWERS]
        for begin in range(0, len(asked), _AT_ONCE):
            part = asked[begin : begin + _AT_ONCE]
            questions = [self._asked(_without(told, one)) for _, told, one in part]
            noise[[place for place, _, _ in part]] = self.network.choose(questions, choices)[:, 0].cpu().numpy()
        self._replace(values, noise)
        return values, noise

    def _replace(self, values: np.ndarray, noise: np.ndarray) -> None:
        """Ask what belongs in the place of each foreign event, and put the nearest item that its person does not have there."""
        places = np.flatnonzero(noise >= self.config.threshold)
        rows = self.train.rows
        titles = [self.wording.title(int(item)) for item in self.known]
        if not len(places):
            return
        vectors = torch.cat([self.network.embed(titles[start : start + _AT_ONCE]) for start in range(0, len(titles), _AT_ONCE)])
        for start in range(0, len(places), _AT_ONCE):
            part = places[start : start + _AT_ONCE]
            written = self.network.write([self._instead(values, place) for place in part], longest=self.config.max_title)
            wanted = self.network.embed([row or [self.network.end] for row in written])
            scores = distance_scores(wanted.cpu().numpy(), vectors.cpu().numpy()).numpy()
            for place, row in zip(part, scores, strict=True):
                first, stop = self.train.offsets[rows[place]], self.train.offsets[rows[place] + 1]
                free = ~np.isin(self.known, values[first:stop])
                if free.any():
                    values[place] = self.known[np.where(free, row, -np.inf).argmax()]

    def _instead(self, values: np.ndarray, place: int) -> list[int]:
        row = self.train.rows[place]
        first, stop = int(self.train.offsets[row]), int(self.train.offsets[row + 1])
        start = max(first, min(place - self.config.window // 2, stop - self.config.window))
        told = [int(values[one]) for one in range(start, min(stop, start + self.config.window)) if one != place]
        return self._asked(Case(history=told, template="instead"))

    def _lessons(self) -> tuple[list[Pair], list[Pair]]:
        """Is an event foreign, of histories as they are and of some in which it was exchanged; and what should stand in its place."""
        found, replaced = [], []
        long_enough = np.flatnonzero(self.train.lengths >= 3)
        for row in self.random.choice(long_enough, self.config.batch_size).tolist():
            items = self.train.row(row)
            start = int(self.random.integers(0, max(1, len(items) - self.config.window + 1)))
            told = [int(item) for item in items[start : start + self.config.window]]
            foreign = [item for item in self.random.choice(self.known, 10).tolist() if item not in items]
            place = int(self.random.integers(len(told)))
            replaced.append(self._pair(replace(_without(told, place), template="instead")))
            exchanged = bool(foreign) and bool(self.random.random() < 0.5)
            told[place] = foreign[0] if exchanged else told[place]
            found.append(self._pair(_without(told, place, answer=_ANSWERS[0 if exchanged else 1])))
        return found, replaced

    def _pretrain(self, items: int) -> None:
        rows = [[*self.wording.title(item), self.network.end] for item in range(items)]
        rows += [
            self.wording.listed(self.train.row(row)[-self.config.window :].tolist())
            for row in range(len(self.train))
            if self.train.lengths[row]
        ]
        self.network.pretrain(rows, steps=self.config.pretrain_steps)

    def _asked(self, case: Case) -> list[int]:
        return self.wording.tokens(self.tasks.named(case.template).input, case)

    def _pair(self, case: Case) -> Pair:
        return self.wording.pair(self.tasks.named(case.template), case)


def _without(told: Sequence[int], place: int, *, answer: str = "") -> Case:
    """Is the event at `place` foreign beside the others?"""
    return Case(item=told[place], history=[*told[:place], *told[place + 1 :]], words={"answer": answer}, template="noise")
