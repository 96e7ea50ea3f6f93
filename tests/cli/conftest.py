"""A small shop's log in files, runs fitted on it, and the command line called in process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from recsmith.cli.program import execute

USERS, ITEMS, EVENTS = 30, 12, 8


@dataclass(frozen=True)
class Answer:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which must be one JSON document and nothing else."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line of a user's mistake."""
        lines = self.err.strip().splitlines()
        assert self.code == 2
        assert self.out == ""
        assert len(lines) == 1, self.err
        assert lines[0].startswith("error: ")
        return lines[0]


Cli = Callable[..., Answer]


@pytest.fixture
def cli(capsys: pytest.CaptureFixture[str]) -> Cli:
    """`cli("run", "sasrec", …)` → what it printed and returned."""

    def call(*words: str | Path) -> Answer:
        capsys.readouterr()
        code = execute([str(word) for word in words])
        captured = capsys.readouterr()
        return Answer(code, captured.out, captured.err)

    return call


def write_shop(folder: Path) -> Path:
    """Everybody walks round the same circle of items; one id holds a comma."""
    folder.mkdir(parents=True, exist_ok=True)
    events = [f"{user},{item_id((user + step) % ITEMS)},{1000 + step}" for user in range(USERS) for step in range(EVENTS)]
    (folder / "interactions.csv").write_text("\n".join(["customer_no,sku,ts", *events]) + "\n")
    items = [f'{item_id(item)},"Chapter {item}",{"red" if item % 2 else "blue"}' for item in range(ITEMS)]
    (folder / "items.csv").write_text("\n".join(["sku,title,colour", *items]) + "\n")
    return folder


def item_id(index: int) -> str:
    return '"x,y"' if index == ITEMS - 1 else f"s{index}"


COLUMNS = "user=customer_no,item=sku,time=ts"


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_shop(tmp_path_factory.mktemp("shop") / "shop")


@pytest.fixture(scope="session")
def popularity_run(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "popularity"
    assert execute(["run", "popularity", "--data", str(shop), "--columns", COLUMNS, "--out", str(out)]) == 0
    return out


@pytest.fixture(scope="session")
def knn_run(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "item-knn"
    assert execute(["fit", "item-knn", "--data", str(shop), "--columns", COLUMNS, "--out", str(out)]) == 0
    return out
