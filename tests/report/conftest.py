"""Runs whose titles are hostile, and the report of two of them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from page_reader import HOSTILE, Page

from recsmith import Dataset
from recsmith.fitting import run
from recsmith.report import ReportContent, gather, render

USERS, ITEMS, EVENTS = 40, 30, 8


def events() -> pl.DataFrame:
    random = np.random.default_rng(0)
    rows = [(user, int(item), step) for user in range(USERS) for step, item in enumerate(random.permutation(ITEMS)[:EVENTS])]
    return pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")


@pytest.fixture(scope="session")
def people() -> pl.DataFrame:
    """What is known about the users: a gender for all but one, who states none."""
    stated = ["female" if user % 3 else "male" for user in range(USERS - 1)]
    return pl.DataFrame({"user_id": range(USERS), "gender": [*stated, None]})


@pytest.fixture(scope="session")
def data(people: pl.DataFrame) -> Dataset:
    genres = [["red"] if item % 2 else ["blue", "old"] for item in range(ITEMS)]
    titles = [f"{HOSTILE} {item}" for item in range(ITEMS)]
    makers = ["A" if item < 10 else "B" for item in range(ITEMS)]
    catalogue = pl.DataFrame({"item_id": range(ITEMS), "title": titles, "genres": genres, "maker": makers})
    return Dataset.from_frame(events(), catalogue=catalogue, users=people, name="a < b & c")


@pytest.fixture(scope="session")
def folders(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    place = tmp_path_factory.mktemp("reported")
    for name in ("popularity", "item-knn"):
        run(name, data, out=place / name, command=f"recsmith run {name} --data x")
    run("popularity", data, out=place / "ratio", settings={"split": {"name": "ratio"}})
    run("popularity", data, out=place / "strangers", settings={"split": {"name": "strong-generalisation", "test_share": 0.3}})
    return [place / name for name in ("popularity", "item-knn", "ratio", "strangers")]


@pytest.fixture(scope="session")
def content(folders: list[Path], people: pl.DataFrame) -> ReportContent:
    return gather(folders[:2], users=people, resamples=500, command="recsmith report both")


@pytest.fixture(scope="session")
def html(content: ReportContent) -> str:
    return render(content)


@pytest.fixture(scope="session")
def page(html: str) -> Page:
    return Page(html)
