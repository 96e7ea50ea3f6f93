"""`recsmith tokens`: look at codes, give codes to new items, compare runs."""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest
from tests.cli.conftest import COLUMNS

from recsmith import load
from recsmith.artifacts import update_file
from recsmith.cli.program import execute
from recsmith.data import Catalogue
from recsmith.run_folder import RUN, RunState, read_run, write_run
from recsmith.tokens import assign_tokens

SMALL = {
    "training.epochs": 1,
    "encoder.name": '"tfidf"',
    "encoder.dim": 16,
    "tokenizer.levels": 2,
    "tokenizer.size": 4,
    "model.dim": 16,
    "model.heads": 2,
    "model.head_dim": 8,
    "model.ff_dim": 32,
    "model.encoder_layers": 1,
    "model.decoder_layers": 1,
}


def fit_tiger(shop: Path, out: Path, *, seed: int = 0, **more: object) -> Path:
    words = ["fit", "tiger", "--data", str(shop), "--columns", COLUMNS, "--out", str(out), "--seed", str(seed)]
    assert execute([*words, *(word for name, value in {**SMALL, **more}.items() for word in ("--set", f"{name}={value}"))]) == 0
    return out


@pytest.fixture(scope="module")
def tiger_run(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit_tiger(shop, tmp_path_factory.mktemp("tokens") / "tiger")


@pytest.fixture
def new_items(tmp_path: Path) -> Path:
    path = tmp_path / "new.csv"
    path.write_text("sku,title,colour\ns0,Chapter 0,blue\nn1,Chapter 3,red\nn2,Chapter 3,red\nn3,,\n")
    return path


def retitled(state: RunState, out: Path) -> Path:
    """The run with another title in its catalogue, whose codes stay as they were."""
    assert state.catalogue is not None
    state.catalogue.frame[0, "title"] = "Another chapter"
    return write_run(out, state)


def test_inspect(cli, tiger_run: Path) -> None:
    report = cli("tokens", "inspect", tiger_run, "--json").json
    assert report["codes"]["items"] == 12
    assert report["tokenizer"]["name"] == "rq-kmeans"
    for name in ("prefix_purity", "neighbour_overlap", "co_occurrence"):
        assert len(report[name]["levels"]) == len(report[name]["random"]) == 2
        assert all(0 <= share <= 1 for share in report[name]["levels"])
    assert report["notes"] == []
    assert sum(node["items"] for node in report["tree"]) == 12
    assert all(sum(child["items"] for child in node["children"]) <= node["items"] for node in report["tree"])
    assert report["tree"][0]["titles"][0].startswith("Chapter")
    out = cli("tokens", "inspect", tiger_run).out
    assert "12 items, tokenizer rq-kmeans (levels = 2" in out
    assert "nearest neighbours with the same prefix" in out
    assert "Chapter" in out


def test_new_items_get_codes_and_old_ones_keep_theirs(cli, tiger_run: Path, new_items: Path, tmp_path: Path) -> None:
    out = tmp_path / "codes" / "new.parquet"
    facts = cli("tokens", "assign", tiger_run, "--items", new_items, "--out", out, "--json").json
    assert (facts["items"], facts["known"], facts["new"], facts["without_text"]) == (4, 1, 3, 1)
    assert facts["after"]["items"] == facts["before"]["items"] + 3
    table = pl.read_parquet(out)
    assert table.columns == ["item_id", "level_0", "level_1", "level_2"]
    assert table["item_id"].to_list() == ["n1", "n2", "n3"]
    codes = read_run(tiger_run)
    assert codes.codes is not None
    everything = [tuple(row) for row in codes.codes.table.tolist()] + table.drop("item_id").rows()
    assert len(set(everything)) == 15
    twin = codes.codes.table[codes.log.items.index("s3")]
    assert table.row(0)[1:3] == table.row(1)[1:3] == tuple(twin[:2])  # the same text, encoded as then
    assert facts["sharing_with_old"] >= 2
    assert [path.name for path in out.parent.iterdir()] == ["new.parquet"]


def test_assignment_for_people(cli, tiger_run: Path, new_items: Path, tmp_path: Path) -> None:
    answer = cli("tokens", "assign", tiger_run, "--items", new_items, "--out", tmp_path / "new.csv")
    assert "wrote codes of 3 new items" in answer.out
    assert "collision rate" in answer.out
    assert "1 new items have no text" in answer.err
    new_items.write_text("sku,title,colour\ns0,Chapter 0,blue\n")
    facts = cli("tokens", "assign", tiger_run, "--items", new_items, "--out", tmp_path / "none.csv", "--json").json
    assert facts["new"] == 0
    assert (tmp_path / "none.csv").read_text() == "item_id,level_0,level_1,level_2\n"


def test_mistakes(cli, tiger_run: Path, popularity_run: Path, new_items: Path, tmp_path: Path) -> None:
    assert "recipe `popularity` has no item codes" in cli("tokens", "inspect", popularity_run).error
    assert "ends in `.txt`" in cli("tokens", "assign", tiger_run, "--items", new_items, "--out", tmp_path / "new.txt").error
    missing = cli("tokens", "assign", tiger_run, "--items", tmp_path / "none.csv", "--out", tmp_path / "new.csv").error
    assert "none.csv` does not exist" in missing
    new_items.write_text("sku,name\nn1,Chapter 3\n")
    assert "names `title`" in cli("tokens", "assign", tiger_run, "--items", new_items, "--out", tmp_path / "codes.csv").error
    assert not (tmp_path / "codes.csv").exists()


def test_texts_other_than_recorded_are_refused(cli, tiger_run: Path, new_items: Path, tmp_path: Path) -> None:
    """Item text that differs between tokenizing and serving: the catalogue was changed after the codes were made."""
    state = read_run(tiger_run)
    changed = retitled(state, tmp_path / "changed")
    error = cli("tokens", "assign", changed, "--items", new_items, "--out", tmp_path / "new.csv").error
    assert "catalogue and codes are out of step" in error
    assert state.card["encoder"]["texts"] in error
    assert len(re.findall(r"hash [0-9a-f]{16}", error)) == 2
    assert "out of step" in cli("tokens", "migrate", changed, "--items", new_items).error
    assert "out of step" in cli("tokens", "drift", changed, "--items", new_items).error
    answer = cli("tokens", "inspect", changed)
    assert answer.code == 0
    assert "note: no neighbour overlap: catalogue and codes are out of step" in answer.err


def test_codes_of_other_items_are_refused_with_both_hashes(cli, tiger_run: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(tiger_run, tmp_path / "other"))
    facts = json.loads((other / "item_codes.json").read_text())
    update_file(other, RUN, "item_codes.json", json.dumps({**facts, "items": "0123456789abcdef"}))
    error = cli("tokens", "inspect", other).error
    assert "out of step" in error
    assert "0123456789abcdef" in error
    assert facts["items"] in error
    assert "out of step" in cli("recommend", other, "--history", "s1").error


def test_codes_that_the_model_did_not_learn_are_refused_with_both_hashes(cli, tiger_run: Path, tmp_path: Path) -> None:
    state = read_run(tiger_run)
    assert state.codes is not None
    other = write_run(tmp_path / "other", replace(state, codes=replace(state.codes, table=state.codes.table[::-1].copy())))
    error = cli("recommend", other, "--history", "s1").error
    assert "model and codes" in error
    assert state.card["tokens"]["hash"] in error
    assert len(re.findall(r"hash [0-9a-f]{16}", error)) == 2


def test_new_items_are_told_by_the_template_of_the_fit(shop: Path, tmp_path: Path) -> None:
    run = fit_tiger(shop, tmp_path / "told", text="'{colour}'")
    state = read_run(run)
    assert state.card["encoder"]["text"] == "{colour}"
    titles = pl.DataFrame({"item_id": ["n1", "n2"], "title": ["Chapter 3", "Chapter 4"], "colour": ["red", "red"]})
    assigned, _ = assign_tokens(state, Catalogue(titles))
    assert assigned.row(0)[1:3] == assigned.row(1)[1:3]  # only the colour was read


@pytest.fixture(scope="module")
def titles_run(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run whose tokenizer reads titles itself, without an encoder."""
    pytest.importorskip("transformers")
    out = tmp_path_factory.mktemp("tokens") / "titles"
    words = ["fit", "indexing-title", "--data", str(shop), "--columns", COLUMNS, "--out", str(out), "--set", "training.epochs=1"]
    assert execute(words) == 0
    return out


def test_a_tokenizer_that_reads_texts_itself_keeps_to_them(cli, titles_run: Path, new_items: Path, tmp_path: Path) -> None:
    state = read_run(titles_run)
    assert state.card["tokenizer"]["text"] == "{title}"
    answer = cli("tokens", "assign", titles_run, "--items", new_items, "--out", tmp_path / "codes.csv", "--json")
    assert answer.json["new"] == 3
    drift = cli("tokens", "drift", titles_run, "--items", new_items, "--json").json
    assert drift["items"]["new"] == 3
    assert drift["items"]["changed"] == 0
    assert "made no vectors of item texts" in cli("tokens", "migrate", titles_run, "--items", new_items).error
    changed = retitled(state, tmp_path / "changed")
    error = cli("tokens", "assign", changed, "--items", new_items, "--out", tmp_path / "codes.csv").error
    assert "catalogue and codes are out of step" in error
    assert state.card["tokenizer"]["texts"] in error


def test_diff(cli, tiger_run: Path, shop: Path, tmp_path: Path) -> None:
    same = cli("tokens", "diff", tiger_run, tiger_run, "--json").json
    assert (same["added"], same["removed"], same["changed"], same["changed_collision_code"]) == (0, 0, 0, 0)
    assert same["changed_by_level"] == [0, 0]
    assert [share for share in same["kept_company"] if share is not None] == [1.0] * sum(s is not None for s in same["kept_company"])
    fewer = tmp_path / "shop"
    fewer.mkdir()
    lines = (shop / "interactions.csv").read_text().splitlines()
    (fewer / "interactions.csv").write_text("\n".join(line for line in lines if ",s0," not in line) + "\n")
    (fewer / "items.csv").write_text((shop / "items.csv").read_text())
    other = fit_tiger(fewer, tmp_path / "other", seed=5)
    changes = cli("tokens", "diff", tiger_run, other, "--json").json
    assert changes["items"] == {"old": 12, "new": 11, "common": 11}
    assert (changes["added"], changes["removed"]) == (0, 1)
    assert changes["changed"] == round(changes["changed_share"] * 11) > 0
    assert json.dumps(changes)
    out = cli("tokens", "diff", tiger_run, other).out
    assert "11 items are in both runs, 0 were added, 1 removed" in out
    assert "pairs still together" in out


# ---- a catalogue that moves ---------------------------------------------------------------------------------------------

CURRENT = [*(f"s{number},Chapter {number},blue" for number in range(9)), "n1,Chapter 3,red", "n2,Chapter 12,green"]
"""The items of the shop but three, and two new ones."""


@pytest.fixture
def current(tmp_path: Path) -> Path:
    path = tmp_path / "current.csv"
    path.write_text("\n".join(["sku,title,colour", *CURRENT]) + "\n")
    return path


@pytest.fixture
def own_run(tiger_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiger_run, tmp_path / "own"))


def test_the_card_holds_the_tokenizer_card(tiger_run: Path) -> None:
    tokens = json.loads((tiger_run / "card.json").read_text())["tokens"]
    assert tokens["version"] == 1
    for name in ("prefix_purity", "neighbour_overlap", "co_occurrence"):
        assert len(tokens[name]["levels"]) == 2


def test_drift(cli, tiger_run: Path, current: Path) -> None:
    figures = cli("tokens", "drift", tiger_run, "--items", current, "--json").json
    assert figures["items"] == {"run": 12, "current": 11, "known": 9, "new": 2, "gone": 3, "changed": 4}
    assert figures["error"]["run"] > 0
    assert figures["error"]["new_ratio"] == pytest.approx(figures["error"]["new"] / figures["error"]["run"])
    assert all(0 <= value <= 1 for value in figures["usage_divergence"])
    assert 0 <= figures["changed_codes"] <= 1
    out = cli("tokens", "drift", tiger_run, "--items", current).out
    assert "11 items in the catalogue: 9 known (4 with changed texts), 2 new; 3 of the run's 12 are gone" in out
    assert "migration" in out
    same = "\n".join(["sku,title,colour", *(f"s{n},Chapter {n},{'red' if n % 2 else 'blue'}" for n in range(11)), '"x,y",Chapter 11,red'])
    current.write_text(same + "\n")
    still = cli("tokens", "drift", tiger_run, "--items", current, "--json").json
    assert (still["items"]["new"], still["items"]["gone"], still["items"]["changed"]) == (0, 0, 0)
    assert still["usage_divergence"] == [0, 0]
    assert still["reasons"] == []
    assert still["error"]["new"] is None


def test_migrate_and_roll_back(cli, own_run: Path, current: Path) -> None:
    before = {path.name: path.read_bytes() for path in own_run.iterdir() if path.is_file() and path.name != "manifest.json"}
    old = read_run(own_run)
    facts = cli("tokens", "migrate", own_run, "--items", current, "--json").json
    assert (facts["version"], facts["items"], facts["current"], facts["gone"], facts["new"]) == (2, 14, 11, 3, 2)
    assert facts["kept"] + facts["moved"] == 12
    migrated = read_run(own_run)
    assert old.codes is not None
    assert migrated.codes is not None
    assert migrated.codes.sizes == old.codes.sizes
    assert (migrated.codes.table[:12] == old.codes.table).all(axis=1).sum() == facts["kept"] > 0
    assert migrated.log.items.ids.to_list()[:12] == old.log.items.ids.to_list()
    assert "metrics" not in migrated.card
    assert migrated.card["tokens"]["prefix_purity"]["levels"]
    listed = cli("recommend", own_run, "--history", "s1,n1", "-k", "3", "--json").json
    assert len(listed) == 3
    assert cli("tokens", "inspect", own_run, "--json").json["notes"] == []
    assert cli("tokens", "drift", own_run, "--items", current, "--json").json["items"]["new"] == 0
    kept = cli("tokens", "versions", own_run, "--json").json["versions"]
    assert [(one["version"], one["current"]) for one in kept] == [(1, False), (2, True)]
    assert "uses version 1 of its codes again" in cli("tokens", "rollback", own_run).out
    assert {path.name: path.read_bytes() for path in own_run.iterdir() if path.name in before} == before
    assert cli("tokens", "rollback", own_run, "--to", "2", "--json").json["version"] == 2
    again = read_run(own_run)
    assert again.codes is not None
    assert (again.codes.table == migrated.codes.table).all()


def test_saving_takes_earlier_versions_of_the_codes_along(cli, own_run: Path, current: Path, tmp_path: Path) -> None:
    assert cli("tokens", "migrate", own_run, "--items", current, "--json").json["version"] == 2
    load(own_run).save(own_run)
    elsewhere = load(own_run).save(tmp_path / "elsewhere")
    for run in (own_run, elsewhere):
        kept = cli("tokens", "versions", run, "--json").json["versions"]
        assert [(one["version"], one["current"]) for one in kept] == [(1, False), (2, True)]
    assert cli("tokens", "rollback", elsewhere, "--json").json["version"] == 1
    assert load(elsewhere).card.get("tokens", {}).get("version", 1) == 1


@pytest.mark.parametrize("tokenizer", ["rq-vae", "letter"])
def test_codes_of_networks_migrate_and_roll_back(cli, shop: Path, current: Path, tmp_path: Path, tokenizer: str) -> None:
    small = {"name": f'"{tokenizer}"', "hidden": "[8]", "latent": 4, "epochs": 3, "warm_up_epochs": 2}
    run = fit_tiger(shop, tmp_path / "run", **{f"tokenizer.{name}": value for name, value in small.items()})
    old = read_run(run)
    facts = cli("tokens", "migrate", run, "--items", current, "--json").json
    assert (facts["version"], facts["new"]) == (2, 2)
    migrated = read_run(run)
    assert old.codes is not None
    assert migrated.codes is not None
    assert (migrated.codes.table[:12] == old.codes.table).all(axis=1).sum() == facts["kept"] > 0
    assert len(cli("recommend", run, "--history", "s1,n1", "-k", "3", "--json").json) == 3
    assert cli("tokens", "rollback", run, "--json").json["version"] == 1
    back = read_run(run)
    assert back.codes is not None
    assert (back.codes.table == old.codes.table).all()


def test_migration_elsewhere_and_from_nothing(cli, tiger_run: Path, current: Path, tmp_path: Path) -> None:
    out = tmp_path / "fresh"
    assert "the catalogue has become too small" in cli("tokens", "migrate", tiger_run, "--items", current, "--fresh", "--out", out).error
    with current.open("a") as file:
        file.write("n3,Chapter 13,red\n")
    answer = cli("tokens", "migrate", tiger_run, "--items", current, "--fresh", "--out", out, "--keep", "0")
    assert "now uses version 2 of its codes, learned on 12 items" in answer.out
    assert "the model has not learned the new codes" in answer.err
    assert len(cli("tokens", "versions", tiger_run, "--json").json["versions"]) == 1
    assert "version" in cli("tokens", "versions", out).out
    assert cli("tokens", "diff", tiger_run, out, "--json").json["added"] == 3


def test_mistakes_of_the_life_cycle(cli, own_run: Path, popularity_run: Path, current: Path, tmp_path: Path) -> None:
    assert "has no item codes" in cli("tokens", "migrate", popularity_run, "--items", current).error
    assert "uses version 1 of its codes and does not keep an earlier version; kept: none" in cli("tokens", "rollback", own_run).error
    assert "does not keep version 7" in cli("tokens", "rollback", own_run, "--to", "7").error
    assert "none.csv` does not exist" in cli("tokens", "migrate", own_run, "--items", tmp_path / "none.csv").error
    current.write_text("sku,title,colour\nn1,Chapter 3,red\n")
    assert "are too few for codebooks" in cli("tokens", "migrate", own_run, "--items", current).error
    assert "ends in `.txt`; allowed: `.svg`" in cli("tokens", "inspect", own_run, "--picture", tmp_path / "tree.txt").error


def test_the_code_tree_as_a_picture(cli, tiger_run: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "pictures" / "tree.svg"
    report = cli("tokens", "inspect", tiger_run, "--picture", path, "--json").json
    assert report["picture"] == str(path)
    text = path.read_text()
    assert "Chapter" in text
    assert f"{report['tree'][0]['items']} items" in text
