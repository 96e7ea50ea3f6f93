"""`recsmith tokens`: look at codes, give codes to new items, compare runs."""

from __future__ import annotations

import json
from pathlib import Path

import polars as pl
import pytest

from recsmith.cli.program import execute
from recsmith.run_folder import read_run, write_run

COLUMNS = "user=customer_no,item=sku,time=ts"
SMALL = {
    "training.epochs": 1,
    "encoder.name": '"tfidf"',
    "tokenizer.levels": 2,
    "tokenizer.size": 4,
    "model.dim": 16,
    "model.heads": 2,
    "model.head_dim": 8,
    "model.ff_dim": 32,
    "model.encoder_layers": 1,
    "model.decoder_layers": 1,
}


def fit_tiger(shop: Path, out: Path, *, seed: int = 0) -> Path:
    words = ["fit", "tiger", "--data", str(shop), "--columns", COLUMNS, "--out", str(out), "--seed", str(seed)]
    assert execute([*words, *(word for name, value in SMALL.items() for word in ("--set", f"{name}={value}"))]) == 0
    return out


@pytest.fixture(scope="module")
def tiger_run(shop: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return fit_tiger(shop, tmp_path_factory.mktemp("tokens") / "tiger")


@pytest.fixture
def new_items(tmp_path: Path) -> Path:
    path = tmp_path / "new.csv"
    path.write_text("sku,title,colour\ns0,Chapter 0,blue\nn1,Chapter 3,red\nn2,Chapter 3,red\nn3,,\n")
    return path


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
    assert state.catalogue is not None
    state.catalogue.frame[0, "title"] = "Another chapter"
    changed = write_run(tmp_path / "changed", state)
    error = cli("tokens", "assign", changed, "--items", new_items, "--out", tmp_path / "new.csv").error
    assert error.count("sha256") == 2
    answer = cli("tokens", "inspect", changed)
    assert answer.code == 0
    assert "note: no neighbour overlap: the run's vectors come from" in answer.err


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
