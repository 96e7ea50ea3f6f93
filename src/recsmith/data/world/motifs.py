"""Colours and shapes of the covers: a palette and a motif per genre, drawn from a seeded generator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

Colour = tuple[int, int, int]


class Palette(NamedTuple):
    """Colours of a genre."""

    ground: Colour
    second: Colour
    accent: Colour
    paper: Colour
    ink: Colour


Motif = Callable[[Any, tuple[int, int], Palette, np.random.Generator], None]
"""Draws on a Pillow `ImageDraw` of the given size."""


def _palette(*colours: str) -> Palette:
    ground, second, accent, paper, ink = (tuple(bytes.fromhex(colour)) for colour in colours)
    return Palette(ground, second, accent, paper, ink)  # type: ignore[arg-type]


PALETTES = {
    "adventure": _palette("f2b950", "d9822b", "1f6f78", "fff6e0", "3a2a12"),
    "animation": _palette("8ed1fc", "ffd166", "ef476f", "ffffff", "26365c"),
    "biography": _palette("c9b79c", "8c6a4f", "33415c", "fbf5ea", "2e2620"),
    "children": _palette("ffe066", "70c1b3", "f25f5c", "fffdf2", "2f3e5c"),
    "comedy": _palette("ffcf56", "ff8c61", "5c2751", "fff8e8", "40203a"),
    "coming-of-age": _palette("f7c59f", "87bba2", "364958", "fff9f2", "2b3a42"),
    "crime": _palette("2b2d34", "5a5f6b", "c8102e", "f0ece2", "17181c"),
    "drama": _palette("7d8ca3", "b9c4d0", "8a3b46", "f6f3ee", "232b38"),
    "fantasy": _palette("3d2c6b", "7b5ea7", "f0c75e", "f8f1df", "2a1d4d"),
    "history": _palette("a4472f", "d99a5b", "e8cf9a", "f9f0dc", "3d1d12"),
    "horror": _palette("1a0e12", "4a0d18", "d1203a", "efe6dc", "160a0d"),
    "musical": _palette("d6336c", "f783ac", "ffd43b", "fff3f8", "4a0f28"),
    "mystery": _palette("1d3b40", "3f6b70", "e3b23c", "f2eee0", "12262a"),
    "nonfiction": _palette("dfe7ea", "9fb8c2", "0b7a75", "ffffff", "17313a"),
    "romance": _palette("f4acb7", "ffcad4", "9d4469", "fff7f8", "4a1c33"),
    "satire": _palette("c3d350", "e9efb0", "d1495b", "fdfdee", "333a10"),
    "science fiction": _palette("0b1d3a", "1f4e79", "4dd0e1", "eaf4f8", "0a1730"),
    "thriller": _palette("20242b", "39424e", "f77f00", "f3efe8", "14171c"),
    "war": _palette("5b6236", "858a57", "2d2f1d", "f0ecd8", "23251a"),
    "western": _palette("e9a15b", "c0562f", "6b2d1a", "fcefdc", "3d1a0f"),
}


def _dunes(draw: Any, size: tuple[int, int], palette: Palette, random: np.random.Generator) -> None:
    """A sun over waves of sand or sea."""
    width, height = size
    x, radius = width * (0.25 + 0.5 * random.random()), width * (0.13 + 0.08 * random.random())
    y = height * (0.16 + 0.1 * random.random())
    draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=palette.paper)
    for layer, colour in enumerate((palette.second, palette.accent, palette.ink)):
        base, phase = height * (0.34 + 0.1 * layer), 6.28 * random.random()
        xs = np.linspace(0, width, 40)
        ys = base + height * 0.045 * np.sin(phase + xs / width * (4 + 3 * random.random()))
        draw.polygon([*zip(xs.tolist(), ys.tolist(), strict=True), (width, height), (0, height)], fill=colour)


def _balloons(draw: Any, size: tuple[int, int], palette: Palette, random: np.random.Generator) -> None:
    """Overlapping discs of all sizes."""
    width, height = size
    for index in range(13):
        radius = width * (0.06 + 0.12 * random.random())
        x, y = width * random.random(), height * 0.62 * random.random()
        colour = (palette.second, palette.accent, palette.paper)[index % 3]
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)


def _profile(draw: Any, size: tuple[int, int], palette: Palette, random: np.random.Generator) -> None:
    """A framed bust."""
    width, height = size
    x, y = width * (0.46 + 0.08 * random.random()), height * 0.27
    halo, head = width * (0.34 + 0.06 * random.random()), width * (0.12 + 0.03 * random.random())
    draw.ellipse((x - halo, y - halo, x + halo, y + halo), fill=palette.second)
    draw.ellipse((x - 2.3 * head, y + 1.1 * head, x + 2.3 * head, y + 6 * head), fill=palette.accent)
    draw.ellipse((x - head, y - 1.2 * head, x + head, y + 1.3 * head), fill=palette.paper)


def _stripes(draw: Any, size: tuple[int, int], palette: Palette, random: np.random.Generator) -> None:
    """Slanted bars, like a deck chair or a searchlight."""
    width, height = size
    step, lean = width / (4 + random.integers(0, 4)), width * (0.5 * random.random() - 0.25)
    for index in range(-4, 14):
        left = index * step
        colour = palette.accent if index % 4 == 0 else palette.second
        if index % 2 == 0:
            draw.polygon([(left, 0), (left + step, 0), (left + step + lean, height), (left + lean, height)], fill=colour)


def _skyline(draw: Any, size: tuple[int, int], palette: Palette, random: np.random.Generator) -> None:
    """Dark blocks with a few lit windows."""
    width, height = size
    moon, x = width * 0.1, width * (0.2 + 0.6 * random.random())
    draw.ellipse((x - moon, height * 0.08, x + moon, height * 0.08 + 2 * moon), fill=palette.accent)
    left = 0.0
    while left < width:
        block, top = width * (0.1 + 0.12 * random.random()), height * (0.2 + 0.25 * random.random())
        draw.rectangle((left, top, left + block, height), fill=palette.second)
        for row in np.arange(top + height * 0.02, height * 0.6, height * 0.035):
            for column in np.arange(left + width * 0.025, left + block - width * 0.03, width * 0.045):
                lit = random.random() < 0.22
                draw.rectangle((column, row, column + width * 0.02, row + height * 0.015), fill=palette.paper if lit else palette.ground)
        left += block + width * 0.012


def _arches(draw: Any, size: tuple[int, int], palette: Palette, random: np.random.Generator) -> None:
    """A door behind a door behind a door."""
    width, height = size
    middle, bottom = width * (0.4 + 0.2 * random.random()), height * 0.95
    colours = (palette.second, palette.accent, palette.paper, palette.ink)
    outer = width * (0.4 + 0.06 * random.random())
    for index, colour in enumerate(colours):
        half, top = outer * (1 - 0.23 * index), height * (0.06 + 0.07 * index)
        draw.pieslice((middle - half, top, middle + half, top + 2 * half), 180, 360, fill=colour)
        draw.rectangle((middle - half, top + half, middle + half, bottom), fill=colour)


def _peaks(draw: Any, size: tuple[int, int], palette: Palette, random: np.random.Generator) -> None:
    """Mountains under stars."""
    width, height = size
    _dots(draw, size, palette, random, count=26)
    for colour, base in ((palette.second, 0.3), (palette.accent, 0.42), (palette.ink, 0.5)):
        for _ in range(3):
            x, half = width * random.random(), width * (0.22 + 0.2 * random.random())
            top = height * (base - 0.16 * random.random())
            draw.polygon([(x - half, height * 0.75), (x, top), (x + half, height * 0.75)], fill=colour)
    draw.rectangle((0, height * 0.7, width, height), fill=palette.ink)


def _orbits(draw: Any, size: tuple[int, int], palette: Palette, random: np.random.Generator) -> None:
    """A planet with rings and companions."""
    width, height = size
    _dots(draw, size, palette, random, count=40)
    x, y = width * (0.35 + 0.3 * random.random()), height * (0.24 + 0.1 * random.random())
    planet = width * (0.13 + 0.07 * random.random())
    for ring in range(1, 4):
        radius = planet * (1.15 + 0.55 * ring)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), outline=palette.second, width=max(2, width // 90))
        angle, moon = 6.28 * random.random(), planet * (0.12 + 0.12 * random.random())
        at_x, at_y = x + radius * np.cos(angle), y + radius * np.sin(angle)
        draw.ellipse((at_x - moon, at_y - moon, at_x + moon, at_y + moon), fill=palette.paper)
    draw.ellipse((x - planet, y - planet, x + planet, y + planet), fill=palette.accent)
    shade = (x - planet * 0.65, y - planet * 0.9, x + planet * 1.15, y + planet * 0.9)
    draw.chord((x - planet, y - planet, x + planet, y + planet), 20, 170, fill=palette.second)
    draw.arc(shade, 200, 250, fill=palette.paper, width=max(2, width // 90))


def _rays(draw: Any, size: tuple[int, int], palette: Palette, random: np.random.Generator) -> None:
    """Beams from one point: a stage, a flag, an explosion."""
    width, height = size
    x, y, beams = width * (0.3 + 0.4 * random.random()), height * (0.2 + 0.12 * random.random()), 9 + 2 * random.integers(0, 4)
    angles = np.linspace(0, 2 * np.pi, 2 * beams + 1) + random.random()
    reach = width + height
    for index in range(0, 2 * beams, 2):
        ends = [(x + reach * np.cos(angle), y + reach * np.sin(angle)) for angle in angles[index : index + 2]]
        draw.polygon([(x, y), *ends], fill=palette.second)
    for radius, colour in ((0.2, palette.accent), (0.13, palette.paper), (0.07, palette.accent)):
        half = width * radius
        draw.ellipse((x - half, y - half, x + half, y + half), fill=colour)


def _rings(draw: Any, size: tuple[int, int], palette: Palette, random: np.random.Generator) -> None:
    """A target, an iris, a ripple."""
    width, height = size
    x, y = width * (0.3 + 0.4 * random.random()), height * (0.22 + 0.12 * random.random())
    count = 6 + int(random.integers(0, 4))
    for index in range(count, 0, -1):
        radius = width * 0.62 * index / count
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=palette.second if index % 2 else palette.ground)
    pupil = width * 0.09
    draw.ellipse((x - pupil, y - pupil, x + pupil, y + pupil), fill=palette.accent)


def _tiles(draw: Any, size: tuple[int, int], palette: Palette, random: np.random.Generator) -> None:
    """Quarter circles on a grid."""
    width, height = size
    side = width / (4 + int(random.integers(0, 2)))
    for row in range(int(height * 0.75 / side) + 1):
        for column in range(int(width / side) + 1):
            left, top = column * side, row * side
            colour = (palette.second, palette.accent, palette.paper, palette.ground)[random.integers(0, 4)]
            turn = int(random.integers(0, 4))
            corner_x, corner_y = left + side * (turn in (1, 2)), top + side * (turn in (2, 3))
            draw.rectangle((left, top, left + side, top + side), fill=palette.ground)
            draw.pieslice((corner_x - side, corner_y - side, corner_x + side, corner_y + side), 90 * turn, 90 * turn + 90, fill=colour)


def _dots(draw: Any, size: tuple[int, int], palette: Palette, random: np.random.Generator, *, count: int) -> None:
    width, height = size
    for _ in range(count):
        x, y, radius = width * random.random(), height * 0.6 * random.random(), width * (0.003 + 0.007 * random.random())
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=palette.paper)


MOTIFS: dict[str, Motif] = {
    "adventure": _dunes, "animation": _balloons, "biography": _profile, "children": _balloons, "comedy": _stripes,
    "coming-of-age": _dunes, "crime": _skyline, "drama": _arches, "fantasy": _peaks, "history": _arches,
    "horror": _rings, "musical": _rays, "mystery": _arches, "nonfiction": _tiles, "romance": _rings,
    "satire": _stripes, "science fiction": _orbits, "thriller": _stripes, "war": _rays, "western": _dunes,
}  # fmt: skip
