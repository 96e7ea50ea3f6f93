"""The report: what it says is what was measured, it needs nothing from outside, and it can be read without eyes."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsmith import Dataset, load
from recsmith.cli.program import execute
from recsmith.errors import StorageError, UserError
from recsmith.fitting import run
from recsmith.report import ReportContent, gather, render, write_report
from recsmith.report.content import leaked_events

USERS, ITEMS, EVENTS = 40, 30, 8
HOSTILE = '<script src="https://evil.example/x.js">alert("x")</script> & more'
VOID = {"meta", "img", "link", "br", "hr", "input"}


class Page(HTMLParser):
    """Elements with their attributes in order, text by element, and whether tags close as they open."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    random = np.random.default_rng(0)
    rows = [(user, int(item), step) for user in range(USERS) for step, item in enumerate(random.permutation(ITEMS)[:EVENTS])]
    frame = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    catalogue = pl.DataFrame({"item_id": range(ITEMS), "title": [f"{HOSTILE} {item}" for item in range(ITEMS)]})
    data = Dataset.from_frame(frame, catalogue=catalogue, name="a < b & c")
    place = tmp_path_factory.mktemp("reported")
    for name in ("popularity", "item-knn"):
        run(name, data, out=place / name, command=f"recsmith run {name} --data x")
    run("popularity", data, out=place / "ratio", settings={"split": {"name": "ratio"}})
    run("popularity", data, out=place / "strangers", settings={"split": {"name": "strong-generalisation", "test_share": 0.3}})
    return [place / name for name in ("popularity", "item-knn", "ratio", "strangers")]


@pytest.fixture(scope="module")
def content(folders: list[Path]) -> ReportContent:
    return gather(folders[:2], resamples=500)


@pytest.fixture(scope="module")
def html(content: ReportContent) -> str:
    return render(content)


@pytest.fixture(scope="module")
def page(html: str) -> Page:
    return Page(html)


# ---- what it says -------------------------------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_runs(content: ReportContent, page: Page, folders: list[Path]) -> None:
    for folder, figure in zip(folders[:2], content.comparison.figures, strict=True):
        value = load(folder).evaluate("test").metrics["NDCG@10"]
        assert figure.mean == pytest.approx(value)
        assert f"{value:.4f} (95% interval {figure.interval.low:.4f} to {figure.interval.high:.4f})" in page.text
    assert content.comparison.sentence(content.comparison.figures[1]) in page.text


def test_it_says_how_to_repeat_it_and_what_it_lacks(page: Page) -> None:
    for words in ("recsmith run item-knn --data x", "seeds: 0", "threads, GPU:", "There is no SASRec run in this report"):
        assert words in page.text
    assert "There is no popularity run" not in page.text


def test_examples_are_what_the_runs_answer(content: ReportContent, page: Page, folders: list[Path]) -> None:
    assert len(content.examples) == 3
    assert page.text.count("Best of Item-kNN:") == 3
    recommender = load(folders[1])
    asked = recommender.split().test
    for example in content.examples:
        assert (len(example.history), len(example.held_out)) == (5, 1)
        lists = example.lists[str(folders[1])]
        assert all(hit == (title in example.held_out) for title, hit in lists)
        row = np.flatnonzero(recommender.log.users.raw(asked.users).cast(pl.String).to_numpy() == example.user)
        items = recommender.answer(asked.take(row), 5).items[0]
        assert [title for title, _ in lists] == recommender.titles(recommender.log.items.raw(items))


def test_data_are_checked(content: ReportContent, page: Page) -> None:
    found = {check.name: check for check in content.checks}
    assert found["Held-out events in training"].passed is True
    assert found["Held-out events in training"].finding == "0 of 40 held-out events"
    assert sum(name.startswith("Popularity of") for name in found) == 2
    assert "40 held-out events" in page.text


def test_a_leak_is_found(folders: list[Path]) -> None:
    recommender = load(folders[0])
    cut = recommender.split()
    leaky = replace(cut, train=recommender.log.histories)
    assert leaked_events(recommender.log.histories, cut, recommender.items) == 0
    assert leaked_events(recommender.log.histories, leaky, recommender.items) == 2 * USERS


def test_popularity_from_held_out_events_is_found(folders: list[Path], tmp_path: Path) -> None:
    wrong = load(folders[0])
    wrong.popularity = np.bincount(wrong.log.histories.values, minlength=wrong.items)
    wrong.save(tmp_path / "wrong")
    content = gather([tmp_path / "wrong"], resamples=100)
    assert [check.passed for check in content.checks][-1] is False
    assert "WRONG" in Page(render(content)).text


# ---- how it is built ------------------------------------------------------------------------------------------------------


def test_it_asks_for_nothing_from_outside(page: Page, html: str) -> None:
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert all((image["src"] or "").startswith("data:image/svg+xml;base64,") for image in page.all("img"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"] for link in page.all("a")} <= {f"#{name}" for name in ids}
    assert not re.search(r"url\(|@import", html)
    assert "default-src 'none'" in html
    assert len(html.encode()) < 5 * 2**20


def test_words_from_the_data_stay_words(page: Page, html: str) -> None:
    assert HOSTILE in page.text
    assert "<script" not in html
    assert "a < b & c" in page.text


def test_it_can_be_read_without_eyes(page: Page) -> None:
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("img")) == 2
    assert all(len(image["alt"] or "") > 20 for image in page.all("img"))
    assert len(page.all("caption")) == len(page.all("table")) >= 5
    assert all(heading.get("scope") in ("col", "row") for heading in page.all("th"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    named = {attributes["id"] for tag, attributes in page.elements if tag == "h2"}
    assert {section["aria-labelledby"] for section in page.all("section")} == named


def test_text_has_contrast(html: str) -> None:
    def light(colour: str) -> float:
        digits = colour * 2 if len(colour) == 3 else colour
        parts = [int(digits[place : place + 2], 16) / 255 for place in (0, 2, 4)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return float(np.dot([0.2126, 0.7152, 0.0722], linear))

    style = html.partition("<style>")[2].partition("</style>")[0]
    text = set(re.findall(r"[{; ]color: #([0-9a-f]{3,6})", style))
    grounds = set(re.findall(r"background: #([0-9a-f]{3,6})", style))
    assert text
    assert grounds
    for ground in grounds:
        assert min((light(ground) + 0.05) / (light(colour) + 0.05) for colour in text) >= 4.5


def test_the_same_content_gives_the_same_page(content: ReportContent, html: str) -> None:
    def undated(text: str) -> str:
        return re.sub(r"<footer>.*</footer>", "", text)

    assert undated(render(content)) == undated(html)


# ---- what may be given ----------------------------------------------------------------------------------------------------


def test_one_run_alone(folders: list[Path]) -> None:
    page = Page(render(gather(folders[1:2], metric="Recall@5", resamples=100)))
    assert "against" not in page.text.partition("The data, its leaks")[0]
    assert "Recall@5" in page.text


def test_people_whom_training_never_saw_give_no_example(folders: list[Path]) -> None:
    content = gather(folders[3:], resamples=100)
    assert content.examples == ()
    assert "there is no example to show" in Page(render(content)).text


def test_other_protocols_are_refused_or_marked(folders: list[Path]) -> None:
    with pytest.raises(UserError, match="cannot be compared"):
        gather([folders[0], folders[2]])
    text = Page(render(gather([folders[0], folders[2]], force=True, resamples=100))).text
    assert "Not comparable: put side by side by force" in text
    assert "split.name: leave-one-out / ratio" in text


def test_a_place_that_cannot_be_written(content: ReportContent, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(content, tmp_path / "file" / "report.html")


def test_command(folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "report.html"
    assert execute(["report", *map(str, folders[:2]), "--out", str(out), "--metric", "Recall@5"]) == 0
    assert f"written to `{out}`" in capsys.readouterr().out
    assert "Recall@5" in Page(out.read_text(encoding="utf-8")).text
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    assert execute(["report", str(folders[0]), "--out", str(tmp_path / "report.pdf")]) == 2
    assert "ends in .html" in capsys.readouterr().err
    assert execute(["report", str(tmp_path / "nowhere"), "--out", str(out)]) == 2
    assert "nowhere" in capsys.readouterr().err


def test_without_matplotlib_it_says_what_to_install(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("recsmith.errors.import_module", missing)
    assert execute(["report", str(folders[0]), "--out", str(tmp_path / "report.html")]) == 2
    assert "pip install 'recsmith[plot]'" in capsys.readouterr().err
