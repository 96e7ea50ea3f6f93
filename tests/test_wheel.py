"""A wheel of this tree, alone in an environment with nothing but torch-level core dependencies."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import recsmith

ROOT = Path(recsmith.__file__).parents[2]
OPTIONAL = ("transformers", "tokenizers", "sentence_transformers", "optuna", "matplotlib", "PIL")

CORE_ONLY = """
import sys

class Hiding:
    def __init__(self, finder):
        self.finder = finder
    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {optional!r} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = [Hiding(finder) for finder in sys.meta_path]
sys.path.insert(0, {folder!r})
import recsmith
assert recsmith.__file__.startswith({folder!r}), recsmith.__file__
from recsmith.cli import main
sys.argv = ["recsmith", *{words!r}]
main()
"""


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if not (ROOT / "pyproject.toml").exists() or importlib.util.find_spec("build") is None:
        pytest.skip("needs the source tree and the package `build`")
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    with zipfile.ZipFile(next(out.glob("*.whl"))) as wheel:
        wheel.extractall(out / "site")
    return out / "site"


def command(unpacked: Path, *words: str) -> subprocess.CompletedProcess[str]:
    code = CORE_ONLY.format(optional=OPTIONAL, folder=str(unpacked), words=list(words))
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=unpacked)


def test_the_wheel_carries_recipes_world_and_types(unpacked: Path) -> None:
    for name in ("recipes/tiger.toml", "data/world/works.tsv", "py.typed"):
        assert (unpacked / "recsmith" / name).is_file()


@pytest.mark.slow
def test_it_runs_with_core_dependencies_alone(unpacked: Path, tmp_path: Path) -> None:
    done = command(
        unpacked,
        "run",
        "sasrec",
        "--data",
        "world:users=200,items=60,events=3000",
        "--out",
        str(tmp_path / "run"),
        "--set",
        "training.epochs=1",
    )
    assert done.returncode == 0, done.stderr
    tiger = ["--set", "training.epochs=1", "--set", "tokenizer.levels=2", "--set", "tokenizer.size=8"]
    done = command(unpacked, "fit", "tiger", "--data", "world:users=200,items=60,events=3000", "--out", str(tmp_path / "tiger"), *tiger)
    assert done.returncode == 0, done.stderr
    assert "tfidf" in (tmp_path / "tiger" / "card.json").read_text()


@pytest.mark.slow
def test_a_missing_extra_is_one_line(unpacked: Path, tmp_path: Path) -> None:
    done = command(unpacked, "tune", "ease", "--data", "world:users=200,items=60,events=3000", "--out", str(tmp_path / "run"))
    assert done.returncode == 2
    assert "pip install 'recsmith[tune]'" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
