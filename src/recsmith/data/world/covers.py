"""A cover picture for each work: generated geometry in the colours of its genre, with the title typeset on it."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from recsmith.data.catalogue import Catalogue
from recsmith.data.world.motifs import MOTIFS, PALETTES, Palette
from recsmith.errors import DataError, StorageError, UserError, import_extra
from recsmith.seeding import derive_seed, generator

_SCALE = 2
"""Art is drawn this many times larger and then reduced, which smooths its edges; text is set at the final size."""
_TITLE_SIZES = (0.135, 0.12, 0.108, 0.095, 0.085, 0.075)
_SMALL = 0.068
"""Heights of the letters as shares of the width of the cover."""


_WITHOUT_DECOMPOSITION = str.maketrans({"ł": "l", "Ł": "L", "ø": "o", "Ø": "O", "½": " 1/2", "¾": " 3/4", "–": "-", "’": "'", "…": "..."})


class _Pillow:
    """The modules of Pillow, and its built-in letters by height."""

    def __init__(self) -> None:
        self.image, self.draw, self._font = (
            import_extra(f"PIL.{name}", extra="images", purpose="rendering covers") for name in ("Image", "ImageDraw", "ImageFont")
        )
        self._letters: dict[float, Any] = {}

    def letters(self, height: float) -> Any:
        if height not in self._letters:
            self._letters[height] = self._font.load_default(size=height)
        return self._letters[height]


def render_covers(catalogue: Catalogue, folder: str | Path, *, size: tuple[int, int] = (120, 180)) -> Catalogue:
    """Write `<item_id>.png` for each item into `folder`; returns the catalogue with the paths in a column `image`.

    The same catalogue gives the same pictures. Genre (first of `genres`), `kind` and `maker` are used where the catalogue has them.
    Raises `DataError` for a catalogue without titles, `UserError` for a size below 60 × 90 pixels, `StorageError` when writing fails and
    `MissingExtraError` without Pillow.
    """
    width, height = size
    if width < 60 or height < 90:
        raise UserError(f"covers of {width} × {height} pixels hold no title; ask for at least 60 × 90")
    title = catalogue.title_column
    if title is None:
        raise DataError("catalogue has no titles to set on covers; give it a column `title`")
    pillow = _Pillow()
    target = Path(folder)
    paths = []
    try:
        target.mkdir(parents=True, exist_ok=True)
        for work in _works(catalogue, title):
            paths.append(str(target / f"{work.item_id}.png"))
            _cover(pillow, work, size).save(paths[-1], optimize=False)
    except OSError as error:
        raise StorageError(
            f"cannot write covers into `{target}`: {error.strerror or error}; free space or choose another folder"
        ) from error
    frame = catalogue.frame.with_columns(pl.Series("image", paths, dtype=pl.String))
    return Catalogue(frame, {**catalogue.kinds, "image": "image"})


@dataclass(frozen=True)
class _Work:
    item_id: str
    title: str
    maker: str
    genre: str
    kind: str


def _works(catalogue: Catalogue, title: str) -> Iterable[_Work]:
    columns = catalogue.frame.columns
    for row in catalogue.frame.iter_rows(named=True):
        genres = row["genres"] if "genres" in columns else None
        genre = (genres[0] if isinstance(genres, list) and genres else genres) or ""
        kind = (row["kind"] if "kind" in columns else None) or ""
        maker = (row["maker"] if "maker" in columns else None) or ""
        yield _Work(str(row["item_id"]), _plain(str(row[title] or row["item_id"])), _plain(str(maker)), str(genre), str(kind))


def _cover(pillow: _Pillow, work: _Work, size: tuple[int, int]) -> Any:
    """One finished picture, RGB."""
    width, height = size
    names = sorted(PALETTES)
    genre = work.genre if work.genre in PALETTES else names[derive_seed(0, "cover genre", work.genre) % len(names)]
    palette, motif = PALETTES[genre], MOTIFS[genre]
    large = pillow.image.new("RGB", (width * _SCALE, height * _SCALE), palette.ground)
    motif(pillow.draw.Draw(large), large.size, palette, generator(0, "cover", work.title))
    picture = large.resize(size, pillow.image.Resampling.LANCZOS)
    draw = pillow.draw.Draw(picture)
    _binding(draw, size, palette, work.kind)
    _letters(pillow, draw, size, palette, work)
    return picture


def _binding(draw: Any, size: tuple[int, int], palette: Palette, kind: str) -> None:
    """The spine of a book, the perforation of a film."""
    width, height = size
    if kind == "book":
        draw.rectangle((0, 0, max(3, width // 24), height), fill=palette.ink)
    if kind == "film":
        strip, hole = max(7, height // 22), max(3, height // 50)
        for top in (0, height - strip):
            draw.rectangle((0, top, width, top + strip), fill=(18, 18, 20))
            for left in range(hole, width - hole, hole * 3):
                middle = top + (strip - hole) // 2
                draw.rectangle((left, middle, left + hole, middle + hole), fill=(235, 232, 222))


def _letters(pillow: _Pillow, draw: Any, size: tuple[int, int], palette: Palette, work: _Work) -> None:
    """Title and maker on a panel of plain paper in the lower part, which keeps them legible on any art."""
    width, height = size
    margin = max(5, width // 14)
    lines, font = _fit(pillow, draw, work.title, width - 3 * margin, round(height * 0.34), width)
    small = pillow.letters(width * _SMALL)
    maker = _shorten(draw, work.maker, small, width - 3 * margin)
    line_height, small_height = round(font.size * 1.18), round(small.size * 1.5)
    panel = len(lines) * line_height + (small_height if maker else 0) + margin
    bottom = height - max(margin + 2, height // 14)
    top = bottom - panel
    draw.rectangle((margin, top, width - margin, bottom), fill=palette.paper)
    draw.rectangle((margin, top, width - margin, top + max(2, height // 90)), fill=palette.accent)
    y = top + margin // 2 + 2
    for line in lines:
        draw.text((width / 2, y), line, font=font, fill=palette.ink, anchor="ma")
        y += line_height
    if maker:
        draw.text((width / 2, y + 1), maker, font=small, fill=palette.ink, anchor="ma")


def _fit(pillow: _Pillow, draw: Any, title: str, width: int, height: int, cover_width: int) -> tuple[list[str], Any]:
    """The largest letters in which the wrapped title fits the panel; in the smallest ones what does not fit is cut."""
    for share in _TITLE_SIZES:
        font = pillow.letters(cover_width * share)
        lines = _wrap(draw, title, font, width)
        if len(lines) * font.size * 1.18 <= height and all(draw.textlength(line, font=font) <= width for line in lines):
            return lines, font
    most = max(1, int(height / (font.size * 1.18)))
    return [_shorten(draw, line, font, width) for line in lines[:most]], font


def _plain(text: str) -> str:
    """Letters without their accents: Pillow's built-in font has no others."""
    decomposed = unicodedata.normalize("NFKD", text.translate(_WITHOUT_DECOMPOSITION))
    return "".join(letter for letter in decomposed if not unicodedata.combining(letter))


def _wrap(draw: Any, title: str, font: Any, width: int) -> list[str]:
    lines: list[str] = []
    for word in title.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and draw.textlength(longer, font=font) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines


def _shorten(draw: Any, text: str, font: Any, width: int) -> str:
    if draw.textlength(text, font=font) <= width:
        return text
    while text and draw.textlength(text + "...", font=font) > width:
        text = text[:-1]
    return text.rstrip() + "..." if text else ""
