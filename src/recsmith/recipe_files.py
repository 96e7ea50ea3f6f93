"""Where our recipes and their cards lie; light, so that listing them loads nothing."""

from __future__ import annotations

from pathlib import Path


def recipe_folder() -> Path:
    """Inside the installed package, or at the root of a checkout."""
    packaged = Path(__file__).parent / "recipes"
    return packaged if packaged.is_dir() else Path(__file__).parents[2] / "recipes"


def recipe_names() -> list[str]:
    """Names of our recipes, in alphabetical order."""
    return sorted(path.stem for path in recipe_folder().glob("*.toml"))


def set_folder() -> Path:
    """Where named sets of recipes lie."""
    return recipe_folder() / "sets"


def set_names() -> list[str]:
    """Names of our sets of recipes, in alphabetical order."""
    return sorted(path.stem for path in set_folder().glob("*.toml"))
