"""Rendered covers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from recsmith.data.catalogue import Catalogue
from recsmith.data.world import GENRES, render_covers, world
from recsmith.data.world.motifs import MOTIFS, PALETTES
from recsmith.errors import DataError, MissingExtraError, StorageError, UserError

image = pytest.importorskip("PIL.Image", reason="covers need the extra `images`")


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    made = world(users=20, items=900, events=100).catalogue
    first_of_each = made.frame.group_by(pl.col("genres").list.first().alias("main"), maintain_order=True).head(1).drop("main")
    return Catalogue(first_of_each, made.kinds)


def test_every_genre_has_colours_and_a_motif() -> None:
    assert set(PALETTES) == set(MOTIFS) == set(GENRES)


def test_ink_is_legible_on_paper() -> None:
    for palette in PALETTES.values():
        paper, ink = (np.dot(np.array(colour), [0.299, 0.587, 0.114]) for colour in (palette.paper, palette.ink))
        assert paper - ink > 150


def test_pictures_are_valid_distinct_and_named_in_the_catalogue(catalogue: Catalogue, tmp_path: Path) -> None:
    covered = render_covers(catalogue, tmp_path / "covers")
    assert covered.kinds["image"] == "image"
    pictures = set()
    for item_id, path in covered.frame.select("item_id", "image").iter_rows():
        assert Path(path).name == f"{item_id}.png"
        with image.open(path) as picture:
            assert (picture.format, picture.size, picture.mode) == ("PNG", (120, 180), "RGB")
            pixels = np.asarray(picture)
        assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 20
        pictures.add(pixels.tobytes())
    assert len(pictures) == len(catalogue) == len(GENRES)


def test_the_same_work_gets_the_same_picture(catalogue: Catalogue, tmp_path: Path) -> None:
    few = Catalogue(catalogue.frame.head(2), catalogue.kinds)
    one, two = (render_covers(few, tmp_path / name).frame["image"].to_list() for name in ("one", "two"))
    assert [Path(path).read_bytes() for path in one] == [Path(path).read_bytes() for path in two]


def test_size_and_foreign_catalogues(tmp_path: Path) -> None:
    frame = pl.DataFrame({"item_id": [1, 2], "title": ["A " + "very " * 40 + "long title", "Supercalifragilisticexpialidocious" * 2]})
    covered = render_covers(Catalogue(frame), tmp_path, size=(80, 100))
    with image.open(covered.frame["image"][0]) as picture:
        assert picture.size == (80, 100)


def test_mistakes_are_named(catalogue: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="ask for at least 60 × 90"):
        render_covers(catalogue, tmp_path, size=(10, 10))
    with pytest.raises(DataError, match="give it a column `title`"):
        render_covers(Catalogue(pl.DataFrame({"item_id": [1], "price": [2.0]})), tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose another folder"):
        render_covers(catalogue, tmp_path / "file" / "covers")


def test_without_pillow_the_extra_is_named(catalogue: Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsmith.errors.import_module", _missing)
    with pytest.raises(MissingExtraError, match=r"pip install 'recsmith\[images\]'"):
        render_covers(catalogue, tmp_path)


def _missing(name: str) -> None:
    raise ModuleNotFoundError(f"No module named {name!r}", name="PIL")
