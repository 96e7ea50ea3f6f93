"""The report: what it says is what was measured, it needs nothing from outside, and it can be read without eyes."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from page_reader import HOSTILE, Page

from recsmith import load
from recsmith.cli.program import execute
from recsmith.errors import StorageError, UserError
from recsmith.report import ReportContent, gather, render, write_report

HARMS = (
    "Content",
    "Privacy and misuse of data",
    "Autonomy and well-being",
    "Transparency and accountability",
    "Social effects",
    "Fairness",
)


# ---- what it says -------------------------------------------------------------------------------------------------------


def test_the_figures_are_those_of_the_runs(content: ReportContent, page: Page, folders: list[Path]) -> None:
    for folder, figure in zip(folders[:2], content.comparison.figures, strict=True):
        value = load(folder).evaluate("test").metrics["NDCG@10"]
        assert figure.mean == pytest.approx(value)
        assert f"{value:.4f} (95% interval {figure.interval.low:.4f} to {figure.interval.high:.4f})" in page.text
    assert content.comparison.sentence(content.comparison.figures[1]) in page.text


def test_it_says_how_to_repeat_it_and_what_it_lacks(page: Page) -> None:
    for words in (
        "This page: recsmith report both",
        "recsmith run item-knn --data x",
        "seeds: 0",
        "threads, GPU:",
        "There is no SASRec run in this report",
        "Protocol leave-one-out, version 1, hash ",
    ):
        assert words in page.text
    assert "There is no popularity run" not in page.text


def test_examples_are_what_the_runs_answer(content: ReportContent, page: Page, folders: list[Path]) -> None:
    assert len(content.examples) == 3
    assert page.text.count("Best of Item-kNN") == 3 + len(content.failures)
    recommender = load(folders[1])
    asked = recommender.split().test
    for example in content.examples:
        assert (len(example.history), len(example.held_out), len(example.lists)) == (5, 1, 2)
        row = np.flatnonzero(recommender.log.users.raw(asked.users).cast(pl.String).to_numpy() == example.user)
        items = recommender.answer(asked.take(row), 5).items[0]
        assert [shown.item for shown in example.lists[1]] == items.tolist()
        assert [shown.title for shown in example.lists[1]] == recommender.titles(recommender.log.items.raw(items))
        assert all(shown.hit == (shown.item == example.held_out[0].item) for shown in example.lists[1])


def test_failures_are_people_whom_everybody_failed_most_popular_target_first(content: ReportContent, folders: list[Path]) -> None:
    recommender = load(folders[0])
    cases = recommender.split().test
    values = [run.evaluation.per_case["NDCG@10"] for run in content.runs]
    hopeless = np.flatnonzero((values[0] == 0) & (values[1] == 0))
    popular = sorted((-recommender.popularity[cases.targets.row(int(row))[0]], int(row)) for row in hopeless)
    names = recommender.log.users.raw(cases.users).cast(pl.String).to_list()
    assert [example.user for example in content.failures] == [names[row] for _, row in popular[:3]]
    assert all("no system listed it" in example.remark for example in content.failures)


def test_groups_are_those_of_the_people(content: ReportContent, page: Page, people: pl.DataFrame, folders: list[Path]) -> None:
    by_gender = next(grouping for grouping in content.groupings if grouping.name == "gender")
    assert by_gender.left_out == 1
    genders = dict(zip(people["user_id"].to_list(), people["gender"].to_list(), strict=True))
    recommender = load(folders[1])
    users = recommender.log.users.raw(recommender.split().test.users).to_list()
    values = content.runs[1].evaluation.per_case["NDCG@10"]
    for group in by_gender.groups:
        own = [value for value, user in zip(values, users, strict=True) if genders[user] == group.label]
        assert (group.cases, group.figures[1].mean) == (len(own), pytest.approx(np.mean(own)))
    assert "By gender" in page.text
    assert "1 people are in no group" in page.text


def test_curves_are_those_of_the_lists(content: ReportContent) -> None:
    popular, similar = content.popularity_curves
    for curve in (popular, similar, content.trained_curve):
        assert (curve.catalogue[0], curve.shown[0], curve.shown[-1]) == (0, 0, pytest.approx(1))
        assert (np.diff(curve.shown) >= 0).all()
    assert popular.head > similar.head > 0
    for curve in content.hit_curves:
        hits = sum(part.observed * part.count for part in curve.bins)
        run = content.runs[content.names.index(curve.name)]
        assert hits == pytest.approx(np.sum(run.evaluation.per_case["Recall@10"]))


def test_the_harm_sheet_has_six_rows_that_say_what_was_not_measured(content: ReportContent, page: Page) -> None:
    assert tuple(row.category for row in content.harm) == HARMS
    assert all(row.not_measured and row.measured for row in content.harm)
    assert page.text.count("Not measured:") == len(HARMS)
    fairness = {figure.what: figure.values for figure in content.harm[-1].measured}
    gap = next(grouping for grouping in content.groupings if grouping.name == "gender")
    means = [group.figures[0].mean for group in gap.groups]
    assert fairness["gap of NDCG@10 between groups by gender"][0].startswith(f"{max(means) - min(means):.4f}, least for ")
    assert any("exposure of the maker" in what for what in fairness)


def test_ties_shuffled_stand_beside_the_order_of_the_file(folders: list[Path]) -> None:
    content = gather(folders[:2], tie_seed=4, resamples=100)
    assert [run.evaluation.metrics["NDCG@10"] for run in content.shuffled] == [figure.mean for figure in content.comparison.figures]
    assert "NDCG@10 where events of equal time change places" in Page(render(content)).text


def test_data_are_checked(content: ReportContent, page: Page) -> None:
    found = {check.name: check for check in content.checks}
    assert found["held-out events in training"].passed is True
    assert "Popularity from training (Item-kNN)" in page.text
    assert "Targets that depend on the tie rule" in page.text


def test_popularity_from_held_out_events_is_found(folders: list[Path], tmp_path: Path) -> None:
    wrong = load(folders[0])
    wrong.popularity = np.bincount(wrong.log.histories.values, minlength=wrong.items)
    wrong.save(tmp_path / "wrong")
    content = gather([tmp_path / "wrong"], resamples=100)
    assert {check.name: check.passed for check in content.checks}["popularity from training"] is False
    assert "a problem" in Page(render(content)).text


# ---- how it is built ------------------------------------------------------------------------------------------------------


def test_it_asks_for_nothing_from_outside(page: Page, html: str) -> None:
    assert not {"script", "link", "iframe", "object"} & {tag for tag, _ in page.elements}
    assert all(re.match(r"data:image/(svg\+xml|webp);base64,", image["src"] or "") for image in page.all("img"))
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


def test_it_can_be_read_without_eyes(page: Page, content: ReportContent) -> None:
    assert page.all("html")[0]["lang"] == "en"
    covers = [image for image in page.all("img") if image["alt"] == ""]  # their titles stand beside them
    plots = [image for image in page.all("img") if image["alt"] != ""]
    assert len(covers) > 20
    assert len(plots) == 4 + len(content.groupings)
    assert all(len(image["alt"] or "") > 20 for image in plots)
    assert len(page.all("caption")) == len(page.all("table")) >= 12
    assert all(heading.get("scope") in ("col", "row") for heading in page.all("th"))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch(r"h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    named = {attributes["id"] for tag, attributes in page.elements if tag == "h2"}
    assert {section["aria-labelledby"] for section in page.all("section")} == named
    assert [tag for tag, _ in page.elements if tag in ("header", "nav", "main", "footer")] == ["header", "nav", "main", "footer"]


def test_the_same_content_gives_the_same_page(content: ReportContent, html: str) -> None:
    def undated(text: str) -> str:
        return re.sub(r"<footer>.*</footer>", "", text)

    assert undated(render(content)) == undated(html)


def test_without_pillow_it_says_why_there_are_no_covers(folders: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("recsmith.errors.import_module", missing)
    content = gather(folders[:1], resamples=100)
    assert content.covers.by_item == {}
    assert "pip install 'recsmith[images]'" in content.covers.origin


# ---- what may be given ----------------------------------------------------------------------------------------------------


def test_one_run_alone(folders: list[Path]) -> None:
    page = Page(render(gather(folders[1:2], metric="Recall@5", resamples=100)))
    assert "against" not in page.text.partition("The data, its leaks")[0]
    assert "Recall@5" in page.text
    assert "The data name no attribute of people" in page.text


def test_people_whom_training_never_saw_have_no_name(folders: list[Path]) -> None:
    content = gather(folders[3:], resamples=100)
    assert len(content.examples) == 3
    assert all("unseen in training" in example.user for example in content.examples)


def test_other_protocols_are_refused_or_marked(folders: list[Path]) -> None:
    with pytest.raises(UserError, match="cannot be compared"):
        gather([folders[0], folders[2]])
    content = gather([folders[0], folders[2]], force=True, resamples=100)
    assert content.by_case == (0,)
    text = Page(render(content)).text
    assert "Not comparable: put side by side by force" in text
    assert "split.name: leave-one-out / ratio" in text


def test_nothing_given() -> None:
    with pytest.raises(UserError, match="needs a run or a table"):
        gather([])


def test_a_place_that_cannot_be_written(content: ReportContent, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        write_report(content, tmp_path / "file" / "report.html")


def test_command(folders: list[Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "report.html"
    assert execute(["report", *map(str, folders[:2]), "--out", str(out), "--metric", "Recall@5"]) == 0
    captured = capsys.readouterr()
    assert f"written to `{out}`" in captured.out
    assert "attributes of users are not known: `x` does not exist" in captured.err
    assert "Recall@5" in Page(out.read_text(encoding="utf-8")).text
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["{run}", "--out", "report.pdf"], "ends in .html"),
        (["nowhere"], "nowhere"),
        ([], "neither a run nor a --table"),
        (["{run}", "--table", "lists.csv"], "both runs and a --table"),
        (["--table", "lists.csv"], "give --data PATH"),
    ],
)
def test_mistakes(words: list[str], message: str, folders: list[Path], capsys: pytest.CaptureFixture[str]) -> None:
    assert execute(["report", *(word.format(run=folders[0]) for word in words)]) == 2
    assert message in capsys.readouterr().err


def test_without_matplotlib_it_says_what_to_install(
    folders: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(f"No module named {name!r}", name=name)

    monkeypatch.setattr("recsmith.errors.import_module", missing)
    assert execute(["report", str(folders[0]), "--out", str(tmp_path / "report.html")]) == 2
    assert "pip install 'recsmith[plot]'" in capsys.readouterr().err
