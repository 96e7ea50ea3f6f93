"""Plain-text tables: aligned columns, numbers to four digits, no dependency."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any


def format_table(rows: Sequence[Mapping[str, Any]], *, digits: int = 4) -> str:
    """Rows as an aligned text table with a header line, without a line break at the end.

    Columns stand in the order in which they first occur; missing, None and nan cells show as `-`. Floats get `digits` decimals and,
    like integers, stand to the right; text stands to the left.
    """
    if not rows:
        return ""
    names = list(dict.fromkeys(name for row in rows for name in row))
    columns = [_column(name, [row.get(name) for row in rows], digits) for name in names]
    lines = ["  ".join(cells).rstrip() for cells in zip(*columns, strict=True)]
    return "\n".join([lines[0], "  ".join("-" * len(column[0]) for column in columns), *lines[1:]])


def _column(name: str, values: list[Any], digits: int) -> list[str]:
    cells = [name, *(_cell(value, digits) for value in values)]
    width = max(map(len, cells))
    numeric = all(value is None or (isinstance(value, Real) and not isinstance(value, bool)) for value in values)
    return [cell.rjust(width) if numeric else cell.ljust(width) for cell in cells]


def _cell(value: Any, digits: int) -> str:
    if not isinstance(value, Real) or isinstance(value, Integral):
        return "-" if value is None else str(value)
    number = float(value)
    return "-" if math.isnan(number) else f"{number:.{digits}f}"
