"""Conformance of models: inherit `ScoreModelTests` or `CodeModelTests`, name the class and a small config, and pytest runs the promises.

Tests that need CUDA carry the mark `gpu`; declare it in your pytest settings where marks are strict.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from recsmith.config import Config
from recsmith.data import Histories
from recsmith.errors import ConfigError
from recsmith.protocols import ClosedForm, CodeModel, Differentiable, HistoryBatch, Observer, ScoreModel
from recsmith.testing.logs import ITEMS, awkward, checkerboard, cycles, full_codes
from recsmith.training import to_batch

_FEW_STEPS = 5
_BATCH = 16


class ModelTests:
    """What every model promises, whatever it answers with. Inherit one of the two classes below instead."""

    model_class: ClassVar[Any]
    """The model under test."""
    config: ClassVar[Config]
    """A small configuration that can learn a catalogue of a dozen items."""
    sequential: ClassVar[bool] = False
    """Whether the order of events matters: the model must then learn cycles, otherwise the checkerboard."""
    personalised: ClassVar[bool] = True
    """Whether answers depend on the history; False skips the test of what was learned."""
    steps: ClassVar[int] = 150
    """Optimiser steps until a model with gradients has learned the small logs."""
    learning_rate: ClassVar[float] = 1e-2
    """First step size of Adam in these tests; it falls linearly."""
    tolerance: ClassVar[float] = 1e-4
    """Greatest difference, absolute and relative, between two ways to compute a score."""

    _shared: ClassVar[Any]

    # ---- what the two kinds do differently ----

    def build(self) -> Any:
        """An untrained model for a catalogue of `ITEMS` items."""
        raise TypeError("inherit `ScoreModelTests` or `CodeModelTests`, not `ModelTests`")

    def scores(self, model: Any, histories: Histories | HistoryBatch) -> Tensor:
        """Scores of all items `[row, item]`, however the model comes by them."""
        raise TypeError("inherit `ScoreModelTests` or `CodeModelTests`, not `ModelTests`")

    # ---- tools ----

    def fit(self, histories: Histories, *, seed: int = 0, steps: int | None = None) -> Any:
        """A new model, trained on `histories` and in evaluation mode; leaves torch's global randomness as it was."""
        with torch.random.fork_rng(devices=[]), torch.enable_grad():
            torch.manual_seed(seed)
            model = self.build()
            if isinstance(model, Observer):
                model.observe(histories)
            if model.learns == "closed-form":
                model.solve(histories)
            else:
                self._descend(model.train(), histories, steps=self.steps if steps is None else steps, seed=seed)
        return model.eval()

    def _descend(self, model: Any, histories: Histories, *, steps: int, seed: int) -> None:
        optimizer = torch.optim.Adam(model.parameters(), lr=self.learning_rate)
        schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, total_iters=steps)
        random = np.random.default_rng(seed)
        for step in range(steps):
            rows = random.permutation(len(histories))[:_BATCH]
            optimizer.zero_grad()
            model.loss(to_batch(histories.take(rows), users=np.full(len(rows), -1)), step).backward()
            optimizer.step()
            schedule.step()

    def quick(self, *, seed: int = 0) -> Any:
        """A model after a few steps: enough where quality does not matter."""
        return self.fit(self._log(), seed=seed, steps=_FEW_STEPS)

    @classmethod
    def shared(cls) -> Any:
        """One such model for all tests that only ask."""
        if "_shared" not in cls.__dict__:
            cls._shared = cls().quick()
        return cls._shared

    def _log(self) -> Histories:
        return cycles() if self.sequential else checkerboard()

    def _close(self, left: Tensor, right: Tensor) -> None:
        torch.testing.assert_close(left.float(), right.float(), rtol=self.tolerance, atol=self.tolerance)

    # ---- settings ----

    def test_config_survives_json(self) -> None:
        kind = self.model_class.Config
        assert isinstance(self.config, kind)
        assert kind.model_validate_json(self.config.model_dump_json()) == self.config
        assert kind.parse(self.config.model_dump(mode="json")) == self.config
        assert self.build().config == self.config

    def test_misspelt_setting_is_refused_with_a_suggestion(self) -> None:
        name = next(iter(self.model_class.Config.model_fields), "any")
        with pytest.raises(ConfigError, match=f"unknown setting `{name}_`; (did you mean|allowed)"):
            self.model_class.Config.parse({f"{name}_": 1})

    # ---- answers ----

    def test_awkward_histories_get_finite_scores(self) -> None:
        scores = self.scores(self.shared(), awkward())
        assert scores.shape == (len(awkward()), ITEMS)
        assert torch.isfinite(scores).all()

    def test_a_batch_equals_its_rows_one_by_one(self) -> None:
        model, histories = self.shared(), awkward()
        single = [self.scores(model, histories.slice(row, row + 1)) for row in range(len(histories))]
        self._close(self.scores(model, histories), torch.cat(single))

    def test_rows_do_not_depend_on_their_order(self) -> None:
        model, histories = self.shared(), awkward()
        order = np.roll(np.arange(len(histories)), 3)[::-1].copy()
        self._close(self.scores(model, histories)[torch.from_numpy(order)], self.scores(model, histories.take(order)))

    def test_only_the_last_events_count_where_histories_are_limited(self) -> None:
        length = getattr(self.config, "max_history", None)
        if length is None:
            pytest.skip("the config has no `max_history`")
        model, histories = self.shared(), awkward(longest=3 * length + 1)
        self._close(self.scores(model, histories), self.scores(model, histories.tail(length)))

    def test_times_weights_and_users_may_be_missing(self) -> None:
        model, histories = self.shared(), awkward()
        bare = Histories(histories.values, histories.offsets)
        scores = self.scores(model, to_batch(bare))
        assert torch.isfinite(scores).all()
        self._close(scores, self.scores(model, to_batch(bare, users=np.full(len(bare), -1))))

    def test_answering_changes_neither_input_nor_model(self) -> None:
        model, batch = self.shared(), to_batch(awkward())
        items, offsets = batch.items.clone(), batch.offsets.clone()
        before = self.scores(model, batch).clone()
        self.scores(model, batch).fill_(-torch.inf)
        assert torch.equal(self.scores(model, batch), before)
        assert torch.equal(batch.items, items)
        assert torch.equal(batch.offsets, offsets)

    def test_answers_are_not_random(self) -> None:
        model = self.shared()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(1)
            first = self.scores(model, awkward())
            torch.manual_seed(2)
            assert torch.equal(first, self.scores(model, awkward()))

    # ---- learning ----

    def test_learning_leaves_the_histories_alone(self) -> None:
        histories = self._log()
        copies = [None if array is None else array.copy() for array in histories._arrays()]
        self.fit(histories, steps=2)
        for array, copy in zip(histories._arrays(), copies, strict=True):
            assert array is copy is None or np.array_equal(array, copy)  # type: ignore[arg-type]

    def test_same_seed_same_scores(self) -> None:
        assert torch.equal(self.scores(self.shared(), awkward()), self.scores(self.quick(), awkward()))

    def test_second_fit_forgets_the_first(self) -> None:
        model = self.build()
        if model.learns != "closed-form":
            pytest.skip("gradient training starts from a new model")
        model.solve(cycles())
        model.solve(checkerboard(users=31))
        self._close(self.scores(model.eval(), awkward()), self.scores(self.fit(checkerboard(users=31)), awkward()))

    def test_loss_is_finite_and_has_gradients(self) -> None:
        model = self.build()
        if model.learns != "gradient":
            pytest.skip("learns in closed form")
        loss = model.train().loss(to_batch(awkward()), 0)
        assert loss.ndim == 0
        loss.backward()
        gradients = [parameter.grad for parameter in model.parameters() if parameter.grad is not None]
        assert gradients
        assert all(torch.isfinite(value).all() for value in [loss, *gradients])
        assert torch.isfinite(model.loss(to_batch(Histories.from_rows([[], []])), 1))

    # ---- artefacts and devices ----

    def test_saved_weights_give_equal_scores(self, tmp_path: Path) -> None:
        model = self.shared()
        save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, tmp_path / "model.safetensors")
        restored = self.build()
        restored.load_state_dict(load_file(tmp_path / "model.safetensors"))
        assert torch.equal(self.scores(model, awkward()), self.scores(restored.eval(), awkward()))

    @pytest.mark.gpu
    @pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
    def test_cpu_and_gpu_agree(self) -> None:
        model = self.quick()
        expected = self.scores(model, awkward())
        found = self.scores(model.to("cuda"), to_batch(awkward(), device="cuda")).cpu()
        torch.testing.assert_close(found.float(), expected.float(), rtol=1e-3, atol=1e-3)


class ScoreModelTests(ModelTests):
    """The promises of a `ScoreModel`."""

    def build(self) -> Any:
        """An untrained model for a catalogue of `ITEMS` items."""
        return self.model_class(self.config, items=ITEMS)

    @torch.no_grad()
    def scores(self, model: Any, histories: Histories | HistoryBatch) -> Tensor:
        """What `score` returns."""
        return model.score(to_batch(histories) if isinstance(histories, Histories) else histories)

    def test_satisfies_the_protocol(self) -> None:
        model = self.build()
        assert isinstance(model, ScoreModel)
        assert isinstance(model, torch.nn.Module)
        assert model.answers == "scores"
        assert isinstance(model, ClosedForm if model.learns == "closed-form" else Differentiable)

    def test_no_rows_get_no_scores(self) -> None:
        assert self.scores(self.shared(), Histories.from_rows([])).shape == (0, ITEMS)

    def test_finds_the_known_answer(self) -> None:
        if not self.personalised:
            pytest.skip("answers everybody alike")
        histories = self._log()
        asked = histories.drop_last() if self.sequential else histories
        scores = self.scores(self.fit(histories), asked)
        found = _next_in_cycle(scores.argmax(1), asked) if self.sequential else _same_parity(scores, histories)
        assert found >= 0.95, f"only {found:.0%} of the answers are right"


class CodeModelTests(ModelTests):
    """The promises of a `CodeModel`. Every combination of codes is an item here, so the probabilities of all items add up to 1."""

    sequential = True

    def build(self) -> Any:
        """An untrained model for a catalogue of `ITEMS` items."""
        return self.model_class(self.config, codes=full_codes())

    @torch.no_grad()
    def scores(self, model: Any, histories: Histories | HistoryBatch) -> Tensor:
        """Log-probability of each item, level by level, with all items as beams."""
        batch = to_batch(histories) if isinstance(histories, Histories) else histories
        codes = torch.from_numpy(full_codes().table).to(batch.items.device).expand(len(batch), -1, -1)
        logits, state = model.step(model.prefill(batch), 0, None, None)
        total = logits.log_softmax(-1)[:, 0].gather(1, codes[:, :, 0])
        parents = torch.zeros_like(codes[:, :, 0])
        for level in range(1, codes.shape[2]):
            logits, state = model.step(state, level, parents, codes[:, :, level - 1])
            total = total + logits.log_softmax(-1).gather(2, codes[:, :, level, None])[:, :, 0]
            parents = torch.arange(ITEMS, device=codes.device).expand(len(batch), -1)
        return total

    def test_satisfies_the_protocol(self) -> None:
        model = self.build()
        assert isinstance(model, CodeModel)
        assert isinstance(model, Differentiable)
        assert isinstance(model, torch.nn.Module)
        assert (model.answers, model.learns) == ("codes", "gradient")

    def test_probabilities_add_up_to_one(self) -> None:
        total = self.scores(self.shared(), awkward()).exp().sum(1)
        torch.testing.assert_close(total, torch.ones_like(total), rtol=1e-3, atol=1e-3)

    @torch.no_grad()
    def test_steps_have_the_promised_shapes(self) -> None:
        model, batch = self.shared(), to_batch(awkward())
        sizes = full_codes().sizes
        logits, state = model.step(model.prefill(batch), 0, None, None)
        assert logits.shape == (len(batch), 1, sizes[0])
        for level, beams in ((1, 2), (2, 3)):
            nothing = torch.zeros(len(batch), beams, dtype=torch.int64)
            logits, state = model.step(state, level, nothing, nothing)
            assert logits.shape == (len(batch), beams, sizes[level])

    @torch.no_grad()
    def test_beams_follow_their_parents(self) -> None:
        model, batch = self.shared(), to_batch(awkward())
        rows = len(batch)

        def last_logits(first: list[int], order: list[int]) -> Tensor:
            """Beams that begin with the codes `first`, then continue the beams `order` with the code 1."""
            begun, chosen = torch.tensor(first).expand(rows, -1), torch.tensor(order).expand(rows, -1)
            _, state = model.step(model.prefill(batch), 0, None, None)
            _, state = model.step(state, 1, torch.zeros_like(begun), begun)
            return model.step(state, 2, chosen, torch.ones_like(chosen))[0]

        alone = [last_logits([code], [0]) for code in range(3)]
        self._close(last_logits([0, 1, 2], [0, 1, 2]), torch.cat(alone, dim=1))
        self._close(last_logits([0, 1, 2], [2, 0, 0, 1]), torch.cat([alone[beam] for beam in (2, 0, 0, 1)], dim=1))

    def test_finds_the_known_answer(self) -> None:
        histories = cycles()
        asked = histories.drop_last()
        chosen = _greedy(self.fit(histories), to_batch(asked))
        items = (chosen[:, None] == torch.from_numpy(full_codes().table)).all(2).int().argmax(1)
        found = _next_in_cycle(items, asked)
        assert found >= 0.95, f"only {found:.0%} of the answers are right"


def _same_parity(scores: Tensor, histories: Histories) -> float:
    """Of the unseen items of the right parity, the share that stands among as many best unseen items."""
    scores = scores.clone()
    scores[torch.from_numpy(histories.rows), torch.from_numpy(histories.values)] = -torch.inf
    wanted = ITEMS // 2 - int(histories.lengths[0])
    best = scores.topk(wanted).indices
    return (best % 2 == torch.arange(len(histories))[:, None] % 2).float().mean().item()


def _next_in_cycle(answers: Tensor, histories: Histories) -> float:
    """Share of the answers, one item `[row]` each, that come next in the cycle."""
    last = torch.from_numpy(histories.values[histories.offsets[1:] - 1])
    return (answers == (last + 1) % ITEMS).float().mean().item()


@torch.no_grad()
def _greedy(model: Any, batch: HistoryBatch) -> Tensor:
    """The best code at each level given the ones before, `[batch, level]`."""
    logits, state = model.step(model.prefill(batch), 0, None, None)
    chosen = [logits.argmax(-1)]
    for level in range(1, full_codes().levels):
        logits, state = model.step(state, level, torch.zeros_like(chosen[0]), chosen[-1])
        chosen.append(logits.argmax(-1))
    return torch.cat(chosen, dim=1)
