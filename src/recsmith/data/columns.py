"""Which column means what: the canonical names, the usual names in the wild, and the conversion of a raw table into canonical columns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import polars as pl

from recsmith.data import validation
from recsmith.data.times import to_seconds
from recsmith.errors import UserError, suggestion

CANONICAL = {
    "user": "user_id",
    "item": "item_id",
    "time": "timestamp",
    "rating": "rating",
    "event": "event_type",
    "session": "session_id",
}
"""Role (as in `columns={"user": …}` and `--columns user=…`) → canonical column."""

USUAL_NAMES: dict[str, tuple[str, ...]] = {
    "user": (
        "user_id", "user", "uid", "u", "customer_id", "customer", "customer_no", "reviewer_id", "visitor_id", "member_id", "account_id",
        "client_id", "profile_id", "reader_id",
    ),
    "item": (
        "item_id", "item", "iid", "i", "movie_id", "movie", "parent_asin", "asin", "sku", "product_id", "product", "article_id", "book_id",
        "track_id", "song_id", "artist_id", "business_id", "gmap_id", "video_id", "game_id", "listing_id", "content_id", "isbn",
    ),
    "time": (
        "timestamp", "time", "ts", "unix_review_time", "unix_timestamp", "event_time", "datetime", "date_time", "created_at", "date",
        "t_dat",
    ),
    "rating": ("rating", "overall", "score", "stars", "weight", "preference"),
    "event": ("event_type", "event", "action", "behavior_type", "behavior", "behaviour", "interaction_type"),
    "session": ("session_id", "session"),
}  # fmt: skip
"""Names recognised without a mapping, the first found wins; case, `_`, `-` and spaces do not count."""


@dataclass
class Canonical:
    """A table in canonical columns and what was done to it."""

    frame: pl.DataFrame
    columns: dict[str, str] = field(default_factory=dict)
    """Canonical column → the column of the source that it came from."""
    notes: list[str] = field(default_factory=list)
    """What a reader of the report should know (units converted, columns taken for others)."""


def parse_columns(text: str) -> dict[str, str]:
    """`"user=customer_no,item=sku,time=ts"` → `{"user": "customer_no", …}`; raises `UserError` for anything else."""
    mapping: dict[str, str] = {}
    for part in text.split(","):
        role, equals, column = part.partition("=")
        if not equals or not role.strip() or not column.strip():
            raise UserError(f"columns {text!r} are not of the form role=column,…; example: --columns user=customer_no,item=sku,time=ts")
        mapping[role.strip()] = column.strip()
    return roles_of(mapping)


def roles_of(columns: Mapping[str, str] | None) -> dict[str, str]:
    """A mapping with its keys as roles (`user`, `item`, …); canonical names are accepted as keys too."""
    by_name = {canonical: role for role, canonical in CANONICAL.items()}
    roles: dict[str, str] = {}
    for key, column in (columns or {}).items():
        role = by_name.get(key, key)
        if role not in CANONICAL:
            raise UserError(f"`{key}` is not a role a column can have; {suggestion(key, CANONICAL)}")
        roles[role] = column
    return roles


def find_columns(available: list[str], columns: Mapping[str, str] | None, *, where: str) -> dict[str, str]:
    """Role → column of the table: as mapped, else by its usual name. Raises `DataError` when user or item is not found."""
    roles = roles_of(columns)
    for role, column in roles.items():
        validation.require_column(column, available, role=role, where=where)
    taken = set(roles.values())
    by_key: dict[str, str] = {}
    for column in available:
        if column not in taken:
            by_key.setdefault(_key(column), column)
    for role, names in USUAL_NAMES.items():
        if role not in roles:
            found = next((by_key[_key(name)] for name in names if _key(name) in by_key), None)
            if found is not None:
                roles[role] = found
    if "user" not in roles and "session" in roles:
        roles["user"] = roles["session"]
    for role in ("user", "item"):
        if role not in roles:
            raise validation.missing_role(role, available, where=where)
    return roles


def find_item_column(available: list[str], item: str | None, *, where: str) -> str:
    """The id column of a table of items: `item`, else one of the usual names, else `id`."""
    if item is not None:
        validation.require_column(item, available, role="item", where=where)
        return item
    by_key = {_key(column): column for column in reversed(available)}
    for name in (*USUAL_NAMES["item"], "id"):
        if _key(name) in by_key:
            return by_key[_key(name)]
    raise validation.missing_role("item", available, where=where)


def canonical_interactions(raw: pl.DataFrame, columns: Mapping[str, str] | None, *, where: str, text: bool = False) -> Canonical:
    """Rename, convert and validate an interaction table. `text`: every column of `raw` is text from a file, so types are found here."""
    validation.require_rows(raw, where=where)
    roles = find_columns(raw.columns, columns, where=where)
    result = Canonical(pl.DataFrame(), {CANONICAL[role]: column for role, column in roles.items()})
    if "session" in roles and roles["user"] == roles["session"]:
        result.notes.append(f"no user column: every session (`{roles['session']}`) counts as one user")
    dropped = [name for name in raw.columns if name in CANONICAL.values() and name not in roles.values()]
    result.notes += [f"column `{name}` left out: `{result.columns[name]}` was named instead" for name in dropped if name in result.columns]
    series = [_convert(role, raw[roles[role]], result, where=where, text=text) for role in CANONICAL if role in roles]
    mapped = set(roles.values())
    others = [raw[column] for column in raw.columns if column not in mapped and column not in dropped]
    series += [untext(column) for column in others] if text else others
    result.frame = pl.DataFrame(series).rechunk()
    return result


def canonical_ids(series: pl.Series, *, name: str, where: str, text: bool = False, column: str | None = None) -> pl.Series:
    """Ids as Int64 or String without nulls. From text, ids become integers only when every one survives the way there and back."""
    column = column or name
    if series.dtype.is_integer():
        ids = series.cast(pl.Int64)
    elif series.dtype.is_float():
        validation.require_whole(series, column=column, where=where)
        ids = series.cast(pl.Int64)
    elif series.dtype in (pl.String, pl.Categorical) or isinstance(series.dtype, pl.Enum):
        ids = integers_where_lossless(series) if text else series.cast(pl.String)
    else:
        raise validation.wrong_type(column, series.dtype, "integers or text", where=where)
    validation.require_no_nulls(ids, column=column, where=where)
    return ids.rename(name)


def integers_where_lossless(series: pl.Series) -> pl.Series:
    """Text as Int64 if each value is written as Python writes that integer (so `007` and `1e3` stay text), else unchanged."""
    if series.null_count() == len(series):
        return series
    if not _looks_integer(series.head(1000)):
        return series
    numbers = series.cast(pl.Int64, strict=False)
    if numbers.null_count() != series.null_count():
        return series
    odd = (series.str.starts_with("0") & (series.str.len_bytes() > 1)) | series.str.contains(r"^\+|^-0")
    return series if odd.any() else numbers


def untext(series: pl.Series) -> pl.Series:
    """A text column as Int64 or Float64 where every value is one, else as it is."""
    if series.dtype != pl.String:
        return series
    whole = integers_where_lossless(series)
    if whole.dtype == pl.Int64:
        return whole
    head = series.head(1000)
    if head.cast(pl.Float64, strict=False).null_count() != head.null_count() or series.null_count() == len(series):
        return series
    if series.str.contains(r"^0\d").any():
        return series
    numbers = series.cast(pl.Float64, strict=False)
    return numbers if numbers.null_count() == series.null_count() else series


def _looks_integer(head: pl.Series) -> bool:
    return head.cast(pl.Int64, strict=False).null_count() == head.null_count()


def _convert(role: str, series: pl.Series, result: Canonical, *, where: str, text: bool) -> pl.Series:
    name = CANONICAL[role]
    if role in ("user", "item"):
        return canonical_ids(series, name=name, where=where, text=text, column=series.name)
    if role == "time":
        seconds, note = to_seconds(series, where=where)
        result.notes += [note] if note else []
        return seconds.rename(name)
    if role == "rating":
        return _ratings(series, where=where, optional="event_type" in result.columns).rename(name)
    return (untext(series) if text else series).rename(name)


def _ratings(series: pl.Series, *, where: str, optional: bool) -> pl.Series:
    if not (series.dtype.is_numeric() or series.dtype in (pl.String, pl.Boolean)):
        raise validation.wrong_type(series.name, series.dtype, "numbers", where=where)
    numbers = series.cast(pl.Float64, strict=False)
    validation.require_converted(series, numbers, expected="a number", where=where)
    validation.require_no_nan(numbers, column=series.name, where=where, nulls_allowed=optional)
    return numbers


def _key(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "").replace(" ", "")
