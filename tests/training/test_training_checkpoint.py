from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from tiny_model import CONFIG, Markov, circle_histories
from torch import Tensor

from recsmith.errors import ArtifactError, StorageError
from recsmith.protocols import HistoryBatch
from recsmith.training import TrainingConfig, TrainingResult, train
from recsmith.training.checkpoint import FILE

ALWAYS = CONFIG.override(checkpoint_every=0)


def fit(model: Markov, folder: Path | None, config: TrainingConfig = ALWAYS, **options: int) -> TrainingResult:
    metric = {"validate": lambda: {"NDCG@10": model.accuracy()}}
    return train(model, circle_histories(), config, checkpoint_folder=folder, **metric, **options)


def same_weights(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


class Interrupted(Markov):
    """Receives Ctrl-C in the middle of an epoch. Named as its base, since a checkpoint knows its model's name."""

    def loss(self, batch: HistoryBatch, step: int) -> Tensor:
        if step == 13:
            os.kill(os.getpid(), signal.SIGINT)
        return super().loss(batch, step)


Interrupted.__name__ = "Markov"


def test_an_interrupted_training_goes_on_to_the_same_result(tmp_path: Path) -> None:
    whole, first, second = Markov(), Interrupted(), Markov()
    expected = fit(whole, None)
    assert fit(first, tmp_path).interrupted
    result = fit(second, tmp_path)
    assert second.steps == list(range(14, 32))
    assert same_weights(whole, second)
    assert result.resumed
    assert result.stopped_because == "epochs"
    assert [(row.epoch, row.loss, dict(row.metrics)) for row in result.curve] == [
        (row.epoch, row.loss, dict(row.metrics)) for row in expected.curve
    ]
    assert (result.best_epoch, result.best_metric) == (expected.best_epoch, expected.best_metric)


def test_a_finished_training_is_not_repeated(tmp_path: Path) -> None:
    model, again = Markov(), Markov()
    fit(model, tmp_path)
    result = fit(again, tmp_path)
    assert again.steps == []
    assert result.resumed
    assert same_weights(model, again)


def test_more_minutes_continue_what_ran_out_of_time(tmp_path: Path) -> None:
    model, again = Markov(), Markov()
    assert fit(model, tmp_path, ALWAYS.override(minutes=1e-9)).stopped_because == "minutes"
    assert fit(again, tmp_path, ALWAYS.override(minutes=5)).stopped_because == "epochs"
    assert again.steps == list(range(1, 32))


def test_another_training_does_not_take_the_checkpoint(tmp_path: Path) -> None:
    fit(Markov(), tmp_path)
    with pytest.raises(ArtifactError, match=r"belongs to another training: settings differ.*delete it to start afresh"):
        fit(Markov(), tmp_path, ALWAYS.override(batch_size=9))
    with pytest.raises(ArtifactError, match="seed differ"):
        fit(Markov(), tmp_path, seed=5)
    with pytest.raises(ArtifactError, match="data differ"):
        train(Markov(), circle_histories(61), ALWAYS, checkpoint_folder=tmp_path)


@pytest.mark.parametrize("damage", ["truncated", "not ours"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, damage: str) -> None:
    fit(Markov(), tmp_path)
    content = (tmp_path / FILE).read_bytes()
    (tmp_path / FILE).write_bytes(content[: len(content) // 2] if damage == "truncated" else b"\x02\0\0\0\0\0\0\0{}")
    with pytest.raises(ArtifactError, match=r"checkpoint.safetensors` cannot be read .*delete it to start afresh"):
        fit(Markov(), tmp_path)


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write the checkpoint"):
        fit(Markov(), tmp_path / "file")


SCRIPT = """
import sys, time, torch
from pathlib import Path
from test_training_checkpoint import ALWAYS, Markov, fit
torch.set_num_threads(1)
class Slow(Markov):
    def loss(self, batch, step):
        if step == 13 and sys.argv[2] == "hang":
            Path(sys.argv[1], "hanging").touch()
            time.sleep(120)
        return super().loss(batch, step)
Slow.__name__ = "Markov"
fit(Slow(), Path(sys.argv[1]))
"""


def test_kill_9_in_mid_training_and_resume_to_the_same_bits(tmp_path: Path) -> None:
    """A real process is killed in the middle of step 13 of 32; this process goes on from its checkpoint."""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path), "hang"], env=environment)
    deadline = time.monotonic() + 60
    while not (tmp_path / "hanging").exists():
        assert process.poll() is None, "the training process ended too early"
        assert time.monotonic() < deadline, "the training process did not reach step 13"
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole, resumed = Markov(), Markov()
        fit(whole, None)
        result = fit(resumed, tmp_path)
    finally:
        torch.set_num_threads(threads)
    assert resumed.steps == list(range(13, 32))
    assert result.resumed
    assert same_weights(whole, resumed)
