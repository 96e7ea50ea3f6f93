"""The demo on a world of toy size: one table, one person, what to try next."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsmith import demo

TOY = {"users": 80, "items": 60, "events": 900, "seed": 1}
QUICK = {
    "popularity": {},
    "sasrec": {"training": {"epochs": 1}, "model": {"dim": 8}},
    "tiger": {
        "training": {"epochs": 1},
        "encoder": {"name": "tfidf", "dim": 16},
        "tokenizer": {"levels": 2, "size": 8},
        "model": {"dim": 16, "heads": 2, "head_dim": 8, "ff_dim": 32, "encoder_layers": 1, "decoder_layers": 1},
        "decoding": {"beams": 10},
    },
}


def test_demo(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    demo.demo(tmp_path, size=TOY, settings=QUICK)
    out = capsys.readouterr().out
    table = [line.split()[0] for line in out.splitlines() if line.strip().startswith(("Popularity", "SASRec", "TIGER", "oracle"))]
    assert table[:4] == ["Popularity", "SASRec", "TIGER", "oracle"]
    assert "TIGER generates" in out
    assert f"recsmith recommend {tmp_path}/tiger --user u00042" in out
    assert {path.name for path in tmp_path.iterdir()} == set(QUICK)


def test_the_settings_are_those_of_the_recipes() -> None:
    from recsmith.recipe import load_recipe

    for recipe, settings in demo.SETTINGS.items():
        assert load_recipe(recipe, settings=settings).name == recipe


def test_a_place_that_cannot_be_written_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr(demo, "WORLD", TOY)
    monkeypatch.setattr(demo, "SETTINGS", QUICK)
    with pytest.raises(SystemExit, match="2"):
        demo.main(["--out", str(tmp_path / "file")])
    assert capsys.readouterr().err.startswith("error: cannot write")
