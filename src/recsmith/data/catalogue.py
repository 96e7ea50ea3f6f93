"""`Catalogue`: what is known about the items, as typed columns, and the texts made of them."""

from __future__ import annotations

import string
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, get_args

import polars as pl

from recsmith.data import validation
from recsmith.data.columns import canonical_ids, find_item_column, untext
from recsmith.data.frames import as_frame
from recsmith.errors import DataError, UserError, suggestion

Kind = Literal["text", "category", "list", "number", "image"]
"""What a column holds; `image` is the path of a picture."""

_TITLES = ("title", "name", "item_name", "product_name", "product_title", "movie_title")
_TEXTS = (*_TITLES, "description", "plot", "summary", "overview", "abstract", "blurb", "textual_id", "features", "text", "about")
_CLOSING = ")]}»"
_NOT_THE_ITEM = {"tags", "provider", "seller", "region", "age_rating", "currency", "condition", "status"}
_PICTURE = r"(?i)\.(png|jpe?g|webp|gif|bmp)$"


@dataclass(frozen=True, eq=False)
class Catalogue:
    """One row per item."""

    frame: pl.DataFrame
    """`item_id` (Int64 or String, each once) and any further columns."""
    kinds: dict[str, Kind] = field(default_factory=dict)
    """Kind of each column but `item_id`; those not given are inferred."""

    def __post_init__(self) -> None:
        if "item_id" not in self.frame.columns:
            raise DataError(f"catalogue has no column `item_id`; it has {', '.join(f'`{name}`' for name in self.frame.columns)}")
        validation.require_unique_items(self.frame["item_id"], column="item_id", where="catalogue")
        object.__setattr__(self, "kinds", _complete(self.frame, self.kinds))

    @classmethod
    def from_frame(
        cls, frame: Any, *, kinds: Mapping[str, Kind] | None = None, item: str | None = None, where: str = "catalogue", text: bool = False
    ) -> Catalogue:
        """From any table. `item` names the id column when it has none of the usual names; `text`: all columns are text from a file."""
        raw = as_frame(frame, what="catalogue")
        validation.require_rows(raw, where=where)
        column = find_item_column(raw.columns, item, where=where)
        ids = canonical_ids(raw[column], name="item_id", where=where, text=text, column=column)
        validation.require_unique_items(ids, column=column, where=where)
        others = [raw[name] for name in raw.columns if name not in (column, "item_id")]
        return cls(pl.DataFrame([ids, *(untext(other) if text else other for other in others)]), dict(kinds or {}))

    def __len__(self) -> int:
        return len(self.frame)

    def with_id_dtype(self, dtype: pl.DataType) -> Catalogue:
        """The same items with ids of another type (`Int64` → `String`)."""
        if self.frame["item_id"].dtype == dtype:
            return self
        return Catalogue(self.frame.with_columns(pl.col("item_id").cast(dtype)), self.kinds)

    def columns_of(self, *kinds: Kind) -> list[str]:
        """Names of the columns of these kinds, in order of the table."""
        return [name for name in self.frame.columns if self.kinds.get(name) in kinds]

    @property
    def title_column(self) -> str | None:
        """The column to show to people: `title`, `name`, …, else the first text column, else None."""
        by_key = {name.lower(): name for name in self.columns_of("text", "category")}
        named = next((by_key[name] for name in _TITLES if name in by_key), None)
        return named or next(iter(self.columns_of("text")), None)

    def titles(self, item_ids: pl.Series) -> pl.Series:
        """Title of each id, null where the item or its title is unknown; String `[id]`."""
        if self.title_column is None:
            return pl.Series("title", [None] * len(item_ids), dtype=pl.String)
        return self.rows(item_ids)[self.title_column].cast(pl.String).rename("title")

    def rows(self, item_ids: pl.Series) -> pl.DataFrame:
        """The catalogue's rows of these ids, in their order; unknown ids give rows of nulls."""
        wanted = item_ids.cast(self.frame["item_id"].dtype, strict=False).rename("item_id").to_frame()
        return wanted.join(self.frame, on="item_id", how="left", maintain_order="left")

    def texts(self, item_ids: pl.Series, *, template: str | None = None) -> list[str]:
        """One text per id, made by `template` (default `default_template()`), such as `"{title}. {genres}"`.

        A field without a value disappears together with the literal text before it; an item without any value, or unknown, gives "".
        Raises `DataError` when there is no column that holds text and `UserError` when the template names a column that does not exist.
        """
        template = template or self.default_template()
        rows = self.rows(item_ids)
        rendered = rows.select(_render(template, rows))["text"]
        return rendered.str.replace_all(r"([.!?])\.( |$)", "$1$2").to_list()

    def default_template(self) -> str:
        """The title, then the other texts, lists and categories that speak of the item itself. Raises `DataError` when there is none.

        Left out are columns about the offer (provider, region, age rating, …), and `tags`, because people write them after the
        events that are to be predicted; name them in a template where they are wanted.
        """
        names = self._describing
        if not names:
            have = ", ".join(f"`{name}`" for name in self.frame.columns)
            raise DataError(
                f"catalogue has no text: none of its columns ({have}) holds words; give a catalogue with titles or descriptions, "
                "or use item codes that need no text"
            )
        return ". ".join(f"{{{name}}}" for name in names)

    @cached_property
    def _describing(self) -> list[str]:
        title = self.title_column
        texts = [name for name in self.columns_of("text") if name != title]
        lists = [name for name in self.columns_of("list") if self.frame.schema[name] == pl.List(pl.String)]
        categories = [name for name in self.columns_of("category") if name != title and self._describes(name)]
        return [*([title] if title else []), *(name for name in [*texts, *lists, *categories] if name not in _NOT_THE_ITEM)]

    def _describes(self, name: str) -> bool:
        """Whether a category says something about items, and is not one more id or an address."""
        values = self.frame[name].drop_nulls()
        if values.dtype != pl.String or values.is_empty():
            return False
        addresses = values.head(100).str.contains("://", literal=True).mean()
        return values.n_unique() <= max(1, len(values) // 2) and not (isinstance(addresses, float) and addresses > 0.5)


def _complete(frame: pl.DataFrame, kinds: Mapping[str, Kind]) -> dict[str, Kind]:
    for name, kind in kinds.items():
        if name not in frame.columns:
            raise DataError(f"catalogue has no column `{name}` of kind {kind!r}; {suggestion(name, frame.columns)}")
        if kind not in get_args(Kind):
            raise UserError(f"column `{name}` cannot be of kind `{kind}`; {suggestion(kind, get_args(Kind))}")
    return {name: kinds.get(name) or infer_kind(frame[name]) for name in frame.columns if name != "item_id"}


def infer_kind(series: pl.Series) -> Kind:
    """The kind that a column's name, type and values suggest."""
    if isinstance(series.dtype, pl.List | pl.Array):
        return "list"
    if series.dtype.is_numeric() or series.dtype.is_temporal() or series.dtype == pl.Boolean:
        return "number"
    if series.dtype != pl.String:
        return "category"
    sample = series.drop_nulls().head(1000)
    if sample.is_empty():
        return "category"
    if sample.str.contains(_PICTURE).all() and not sample.str.contains("://", literal=True).all():
        return "image"
    if series.name.lower() in _TEXTS:
        return "text"
    words = sample.str.count_matches(r"\S+").mean()
    few = series.n_unique() <= len(series) // 4
    return "text" if isinstance(words, float) and words >= 3 and not few else "category"


def _render(template: str, rows: pl.DataFrame) -> pl.Expr:
    """Each field with the literal text around it that goes when the field is empty: what is before it, and a bracket closed after it."""
    parsed = [(text, name) for text, name, _, _ in string.Formatter().parse(template)]
    texts, names = [text for text, _ in parsed], [name for _, name in parsed]
    closing = [text[: len(text) - len(text.lstrip(_CLOSING))] for text in texts[1:]] + [""]
    texts[1:] = [text.lstrip(_CLOSING) for text in texts[1:]]
    pieces: list[pl.Expr] = []
    for before, name, after in zip(texts, names, closing, strict=True):
        if name is None:
            pieces.append(pl.lit(before))
            continue
        if name not in rows.columns:
            hint = suggestion(name, rows.columns)
            raise UserError(f"text template {template!r} names `{name}`, which is no column of the catalogue; {hint}")
        value = _as_text(rows.schema[name], name)
        piece = pl.concat_str(pl.lit(before), value, pl.lit(after))
        pieces.append(pl.when(value.is_null() | (value == "")).then(pl.lit("")).otherwise(piece))
    if all(name is None for name in names):
        raise UserError(f"text template {template!r} names no column; example: '{{title}}. {{genres}}'")
    joined = pl.concat_str(pieces).str.replace_all(r"\s+", " ").str.replace(r"^[\s.,;:|/-]+", "")
    return joined.str.strip_chars().alias("text")


def _as_text(dtype: pl.DataType, name: str) -> pl.Expr:
    column = pl.col(name)
    if isinstance(dtype, pl.List):
        return column.list.eval(pl.element().cast(pl.String)).list.drop_nulls().list.join(", ")
    return column.cast(pl.String).str.strip_chars()
