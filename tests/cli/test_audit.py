"""`recsmith audit`: groups of people and of items, recorded answers to questions that differ in one attribute, and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from recsmith import Dataset
from recsmith.audit import attribute_groups, taste_profiles
from recsmith.background import Background
from recsmith.cli.program import execute
from recsmith.grouping import by_attribute

USERS, ITEMS = 24, 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The first half of the people walk round a circle of items, the others jump about; one person states no gender."""
    place = tmp_path_factory.mktemp("audited") / "club"
    place.mkdir()
    random = np.random.default_rng(0)
    walks = [[(user + step) % ITEMS if user < 12 else int(random.permutation(ITEMS)[0]) for step in range(6)] for user in range(USERS)]
    events = [f"{user},{item},{step}" for user, walk in enumerate(walks) for step, item in enumerate(walk)]
    (place / "interactions.csv").write_text("\n".join(["user_id,item_id,timestamp", *events]) + "\n")
    genders = ["female" if user < 12 else "male" for user in range(USERS - 1)] + [""]
    people = [f"{user},{gender},{20 + user},{'only' if user == 0 else 'many'}" for user, gender in enumerate(genders)]
    (place / "users.csv").write_text("\n".join(["user_id,gender,age,club", *people]) + "\n")
    items = [f"{item},Work {item},{'red' if item % 2 else 'blue'},{'A' if item < 3 else 'B'}" for item in range(ITEMS)]
    (place / "items.csv").write_text("\n".join(["item_id,title,genre,maker", *items]) + "\n")
    return place


@pytest.fixture(scope="module")
def run(folder: Path) -> Path:
    out = folder.parent / "knn"
    assert execute(["run", "item-knn", "--data", str(folder), "--out", str(out)]) == 0
    return out


def test_groups_of_people_are_those_of_the_data(cli, run: Path, folder: Path) -> None:
    found = cli("audit", run, "--attribute", "gender", "--data", folder, "--metric", "NDCG@5", "--items", "maker", "--json").json
    ndcg = found["users"]["NDCG@5"]
    assert [(row["group"], row["members"]) for row in ndcg["rows"]] == [("female", 12), ("male", 11)]
    assert ndcg["gap"] == pytest.approx(ndcg["rows"][0]["mean"] - ndcg["rows"][1]["mean"])
    assert (ndcg["worst"], ndcg["unknown"]) == ("male", 1)
    assert ndcg["p_value"] <= ndcg["p_holm"] < 0.05
    assert {row["group"]: row["items"] for row in found["items"]["rows"]} == {"A": 3, "B": 7}
    assert 0 < found["consistency"] <= 1
    assert (found["protocol"]["name"], found["split"], found["recipe"]) == ("leave-one-out", "test", "item-knn")


def test_the_table_says_what_could_have_been_seen(cli, run: Path, folder: Path) -> None:
    answer = cli("audit", run, "--attribute", "activity", "--data", folder)
    assert answer.code == 2  # everybody has as many events
    shown = cli("audit", run, "--attribute", "taste")
    assert shown.code == 0
    assert "mainstream" in shown.out
    assert "95% interval" in shown.out
    assert "name a column of the catalogue with --items" in shown.err
    gender = cli("audit", run, "--attribute", "gender", "--data", folder, "--metric", "ILD-categories@5")
    assert "1 people of unknown gender are left out" in gender.out


def test_numbers_are_cut_into_bands(run: Path, folder: Path) -> None:
    background = Background.of_run(run, users=Dataset.from_path(folder).users)
    labels = by_attribute(background, "age")
    assert list(labels.order) == ["up to 25.75", "above 25.75 to 31.5", "above 31.5 to 37.25", "above 37.25"]
    assert [labels.of_cases.count(label) for label in labels.order] == [6, 6, 6, 6]


def test_tastes_are_shares_of_categories(run: Path) -> None:
    background = Background.of_run(run)
    profiles = taste_profiles(background)
    assert profiles is not None
    history = background.cases.histories.row(0)
    blue = np.mean([int(item) % 2 == 0 for item in background.log.items.raw(history).to_list()])
    assert sorted(profiles[0].tolist()) == pytest.approx(sorted([blue, 1 - blue]))


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{run}",), "needs --attribute"),
        (("--attribute", "gender"), "nothing to audit"),
        (("{run}", "--attribute", "height", "--data", "{data}"), "no attribute `height`; known: `gender`, `age`, `club`"),
        (("{run}", "--attribute", "club", "--data", "{data}"), "group `only` has one member"),
        (("{run}", "--attribute", "gender", "--data", "{data}", "--metric", "NDCG@7"), "`NDCG@7` has no value per case"),
        (("{run}", "--attribute", "gender", "--data", "{data}", "--items", "colour"), "no column `colour`"),
        (("{run}", "--attribute", "gender", "--data", "{data}/interactions.csv"), "nothing is known about the users"),
        (("--attribute", "gender", "--answers", "nowhere.csv"), "`nowhere.csv` is not a file"),
    ],
)
def test_mistakes(cli, run: Path, folder: Path, words: tuple[str, ...], message: str) -> None:
    assert message in cli("audit", *(word.format(run=run, data=folder) for word in words)).error


def test_without_data_it_reads_what_the_command_named(run: Path, folder: Path, monkeypatch: pytest.MonkeyPatch, cli) -> None:
    from recsmith.artifacts import read_json, update_file, write_json
    from recsmith.run_folder import RUN

    card = read_json(run / "card.json")
    card["command"] = f"recsmith run item-knn --data={folder} --out x"
    write_json(run / "new.json", card)
    update_file(run, RUN, "card.json", (run / "new.json").read_text())
    assert cli("audit", run, "--attribute", "gender", "--json").json["users"]["NDCG@10"]["worst"] == "male"
    card["command"] = "recsmith run item-knn --data world:users=50,items=30,events=500 --out x"
    write_json(run / "new.json", card)
    update_file(run, RUN, "card.json", (run / "new.json").read_text())
    answer = cli("audit", run, "--attribute", "gender")
    assert answer.code == 2
    assert "is not what" in answer.err


def write_answers(path: Path, lists: dict[tuple[str, str], list[str]]) -> Path:
    rows = [f"{question},{value},{item},{rank}" for (question, value), items in lists.items() for rank, item in enumerate(items, 1)]
    path.write_text("\n".join(["question,value,item_id,rank", *rows]) + "\n")
    return path


LISTS = {
    ("q1", ""): ["a", "b"],
    ("q1", "a woman"): ["a", "b"],
    ("q1", "a man"): ["a", "c"],
    ("q2", ""): ["d", "e"],
    ("q2", "a woman"): ["d", "e"],
    ("q2", "a man"): ["f", "g"],
}


def test_recorded_answers(cli, tmp_path: Path) -> None:
    words = ("audit", "--attribute", "gender", "--answers", write_answers(tmp_path / "answers.csv", LISTS))
    found = cli(*words, "--json").json["counterfactual"]
    assert {row["value"]: row["similarity"]["Jaccard"] for row in found["rows"]} == {"a woman": 1.0, "a man": pytest.approx(1 / 6)}
    assert found["snsr"]["Jaccard"] == pytest.approx(5 / 6)
    assert found["disadvantaged"] == "a man"
    assert "SNSR" in cli(*words).out


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({("q2", "a man"): None}, "`q2` has no answer under `a man`"),
        ({("q1", ""): None}, "`q1` has no neutral answer"),
        ({("q1", "a man"): None, ("q2", "a man"): None}, "give at least 2"),
    ],
)
def test_recorded_answers_that_are_not_complete(cli, tmp_path: Path, change: dict[tuple[str, str], None], message: str) -> None:
    lists = {key: items for key, items in LISTS.items() if key not in change}
    assert message in cli("audit", "--attribute", "gender", "--answers", write_answers(tmp_path / "answers.csv", lists)).error


def test_recorded_answers_with_a_rank_twice_or_none(cli, tmp_path: Path) -> None:
    path = write_answers(tmp_path / "answers.csv", LISTS)
    path.write_text(path.read_text() + "q2,a man,h,2\n")
    assert "has rank 2 twice" in cli("audit", "--attribute", "gender", "--answers", path).error
    path.write_text(path.read_text().replace("h,2", "h,last"))
    assert "'last' is not a number" in cli("audit", "--attribute", "gender", "--answers", path).error


def test_groups_of_the_log_need_no_users(run: Path) -> None:
    background = Background.of_run(run)
    assert len(attribute_groups(background, "activity")) == USERS
