from __future__ import annotations

import math
import os
import signal
from collections.abc import Mapping

import numpy as np
import pytest
import torch
from tiny_model import CONFIG, ITEMS, Markov, circle_histories
from torch import Tensor

from recsmith.data import Histories
from recsmith.errors import ConfigError, DataError, UserError
from recsmith.nn.item_vectors import KeptTable
from recsmith.protocols import HistoryBatch
from recsmith.training import train, update
from recsmith.training.optimizer import learning_rate_factor, make_optimizer


def weights(model: torch.nn.Module) -> list[Tensor]:
    return [tensor.clone() for tensor in model.state_dict().values()]


def same(a: list[Tensor], b: list[Tensor]) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b, strict=True))


def test_it_learns_and_gives_an_account() -> None:
    model, done, said = Markov(), [], []
    result = train(
        model,
        circle_histories(),
        CONFIG.override(epochs=15, validation_metric="accuracy"),
        validate=lambda: {"accuracy": model.accuracy()},
        progress=lambda what, now, total: done.append((what, now, total)),
        message=said.append,
    )
    assert model.accuracy() == 1.0
    assert not model.training
    assert result.best_metric == 1.0
    assert (result.steps, result.stopped_because, result.resumed, result.interrupted) == (120, "epochs", False, False)
    assert model.steps == list(range(120))
    assert [row.epoch for row in result.curve] == [0.5 * n for n in range(1, 31)]
    assert result.curve[-1].loss < result.curve[0].loss
    assert result.rows()[0].keys() == {"epoch", "step", "loss", "seconds", "accuracy"}
    assert done == [("training", step, 120) for step in range(1, 121)]
    assert len(said) == 30
    assert "accuracy 1.0000" in said[-1]


def test_the_same_seed_gives_the_same_weights_and_leaves_the_callers_randomness_alone() -> None:
    results = []
    for seed in (1, 1, 2):
        model = Markov()
        state = torch.get_rng_state()
        train(model, circle_histories(), CONFIG, seed=seed)
        assert torch.equal(state, torch.get_rng_state())
        results.append(weights(model))
    assert same(results[0], results[1])
    assert not same(results[0], results[2])


def test_the_best_weights_come_back_and_patience_ends_the_training() -> None:
    figures = iter([0.1, 0.3, 0.2, 0.1, 0.25, 0.9])
    model, seen = Markov(), []

    def validate() -> Mapping[str, float]:
        assert not model.training
        assert not torch.is_grad_enabled()
        seen.append(weights(model))
        return {"NDCG@10": next(figures)}

    result = train(model, circle_histories(), CONFIG.override(patience=3, least_steps=0), validate=validate)
    assert result.stopped_because == "patience"
    assert (result.best_epoch, result.best_metric) == (1.0, 0.3)
    assert len(seen) == 5
    assert same(weights(model), seen[1])


def test_patience_waits_for_the_least_steps() -> None:
    def validate() -> Mapping[str, float]:
        return {"NDCG@10": 0.1}  # never better than the first time

    config = CONFIG.override(patience=1, least_steps=20)
    result = train(Markov(), circle_histories(), config, validate=validate)
    steps = [row.step for row in result.curve]
    assert result.stopped_because == "patience"
    assert len(steps) > 2
    assert steps[-2] < 20 <= steps[-1]


def test_without_validation_the_last_weights_stay_and_the_curve_is_kept() -> None:
    result = train(Markov(), circle_histories(), CONFIG)
    assert (result.best_epoch, result.best_metric) == (None, None)
    assert len(result.curve) == 8


def test_the_time_budget_ends_the_training_after_a_validation() -> None:
    model = Markov()
    result = train(model, circle_histories(), CONFIG.override(minutes=1e-9), validate=lambda: {"NDCG@10": 0.5})
    assert (result.steps, result.stopped_because, result.best_metric) == (1, "minutes", 0.5)


def test_a_loss_that_is_not_finite_names_the_step() -> None:
    class Broken(Markov):
        def loss(self, batch: HistoryBatch, step: int) -> Tensor:
            return super().loss(batch, step) * (math.nan if step == 3 else 1.0)

    with pytest.raises(UserError, match=r"became nan at step 3 \(epoch 0\.38\).*`learning_rate` = 0\.05"):
        train(Broken(), circle_histories(), CONFIG)


def test_an_unknown_metric_is_answered_with_a_suggestion() -> None:
    with pytest.raises(ConfigError, match=r"`validation_metric` = 'NDCG@10'.*did you mean `NDCG@5`"):
        train(Markov(), circle_histories(), CONFIG, validate=lambda: {"NDCG@5": 0.1})


def test_nothing_to_train_on() -> None:
    with pytest.raises(DataError, match="every history is empty"):
        train(Markov(), Histories.from_rows([[], []]), CONFIG)


def test_ctrl_c_ends_between_two_steps_with_the_best_weights() -> None:
    class Interrupted(Markov):
        def loss(self, batch: HistoryBatch, step: int) -> Tensor:
            if step == 5:
                os.kill(os.getpid(), signal.SIGINT)
            return super().loss(batch, step)

    model, kept = Interrupted(), []

    def validate() -> Mapping[str, float]:
        kept.append(weights(model))
        return {"NDCG@10": 0.5}

    handler = signal.getsignal(signal.SIGINT)
    result = train(model, circle_histories(), CONFIG, validate=validate)
    assert signal.getsignal(signal.SIGINT) is handler
    assert (result.interrupted, result.steps, result.best_epoch) == (True, 6, 0.5)
    assert same(weights(model), kept[0])


def test_a_second_ctrl_c_raises_at_once() -> None:
    class Hasty(Markov):
        def loss(self, batch: HistoryBatch, step: int) -> Tensor:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
            return super().loss(batch, step)

    with pytest.raises(KeyboardInterrupt):
        train(Hasty(), circle_histories(), CONFIG)


def test_users_reach_the_model() -> None:
    class Nosy(Markov):
        def loss(self, batch: HistoryBatch, step: int) -> Tensor:
            assert batch.users is not None
            users.extend(batch.users.tolist())
            return super().loss(batch, step)

    users: list[int] = []
    train(Nosy(), circle_histories(), CONFIG.override(epochs=1), users=np.arange(60) + 100)
    assert sorted(users) == list(range(100, 160))


def test_update_goes_on_from_the_weights_and_never_ends_worse() -> None:
    model = Markov()
    train(model, circle_histories(), CONFIG.override(epochs=15))
    before = weights(model)
    result = update(model, circle_histories(10), CONFIG, epochs=1, validate=lambda: {"NDCG@10": -float(len(model.steps))})
    assert result.best_epoch == 0.0
    assert same(weights(model), before)
    update(model, circle_histories(10), CONFIG)
    assert not same(weights(model), before)
    assert model.accuracy() == 1.0


def test_bf16_is_used_when_asked() -> None:
    class Watching(Markov):
        def loss(self, batch: HistoryBatch, step: int) -> Tensor:
            states.add(torch.is_autocast_enabled("cpu"))
            return super().loss(batch, step)

    for precision, wanted in (("bf16", True), ("fp32", False)):
        states: set[bool] = set()
        train(Watching(), circle_histories(), CONFIG.override(epochs=1, precision=precision))
        assert states == {wanted}


def test_only_matrices_decay() -> None:
    model = Markov()
    groups = make_optimizer(model, CONFIG.override(weight_decay=0.1)).param_groups
    decays = {id(parameter): group["weight_decay"] for group in groups for parameter in group["params"]}
    assert [decays[id(p)] for p in (model.inputs, model.outputs, model.bias)] == [0.1, 0.1, 0.0]


def test_what_is_kept_of_a_model_follows_the_training() -> None:
    """A fused optimiser changes weights behind autograd's back; a table made of them must not stay as it was."""
    model, found = Markov(), []
    kept = KeptTable(model, lambda: model.outputs * 2)

    def validate() -> dict[str, float]:
        model.eval()
        with torch.no_grad():
            found.append(torch.equal(kept(), model.outputs * 2))
        model.train()
        return {"accuracy": float(len(found))}

    train(model, circle_histories(), CONFIG.override(epochs=3, validate_every=1, validation_metric="accuracy"), validate=validate)
    assert found == [True, True, True]


def test_schedules() -> None:
    def course(schedule: str) -> list[float]:
        return [learning_rate_factor(step, total=6, warmup=2, schedule=schedule) for step in range(6)]  # type: ignore[arg-type]

    assert course("constant") == pytest.approx([1 / 3, 2 / 3, 1, 1, 1, 1])
    assert course("linear") == pytest.approx([1 / 3, 2 / 3, 1, 0.75, 0.5, 0.25])
    assert course("cosine") == pytest.approx([1 / 3, 2 / 3, 1, 0.853553, 0.5, 0.146447], rel=1e-5)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_cuda_learns_the_same_lists() -> None:
    models = {}
    for device in ("cpu", "cuda"):
        models[device] = Markov()
        train(models[device], circle_histories(), CONFIG.override(epochs=15, device=device))
        models[device].cpu()
    assert models["cpu"].accuracy() == models["cuda"].accuracy() == 1.0
    assert len(models["cuda"].bias) == ITEMS
