"""Amazon reviews as J. McAuley's group publishes them: 2014, 2018 and 2023, one object per line, plain, gzipped or zipped."""

from __future__ import annotations

import ast
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from recsmith.data.catalogue import Catalogue, Kind
from recsmith.data.columns import canonical_interactions
from recsmith.data.dataset import Dataset
from recsmith.data.readers import tables
from recsmith.errors import DataError, UserError

_ENDINGS = (".json", ".jsonl", ".zip")
_REVIEWS = {"reviewText": "text", "summary": "summary"}, {"text": "text", "title": "summary"}
"""Source column → column of `Dataset.reviews`: 2014 and 2018, then 2023."""
_OLD = {
    "reviewerID": pl.String,
    "asin": pl.String,
    "overall": pl.Float64,
    "unixReviewTime": pl.Int64,
    **dict.fromkeys(_REVIEWS[0], pl.String),
}
_NEW = {
    "user_id": pl.String, "parent_asin": pl.String, "rating": pl.Float64, "timestamp": pl.Int64, **dict.fromkeys(_REVIEWS[1], pl.String),
}  # fmt: skip
_KINDS: dict[str, Kind] = {
    "title": "text", "brand": "category", "categories": "list", "description": "text", "features": "text", "price": "number",
}  # fmt: skip


class AmazonReader:
    """Ratings with times, the reviews' texts, and the `meta_*` file beside as catalogue."""

    form = "Amazon reviews 2014/2018/2023 (.json or .jsonl, also .gz, .zip, or their folder)"

    def matches(self, path: Path) -> bool:
        return _review_file(path) is not None

    def read(self, path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
        if columns:
            raise UserError(f"`{path}` holds Amazon reviews, whose columns are known; leave `columns` out")
        file = _review_file(path)
        if file is None:
            raise DataError(f"`{path}` holds no Amazon reviews: no line with `reviewerID` or `parent_asin`; name another reader")
        new = '"parent_asin"' in _first_record(file)
        raw = _parse(file, _NEW if new else _OLD)
        texts = {source: name for source, name in _REVIEWS[new].items() if source in raw.columns}
        result = canonical_interactions(raw.drop(list(texts)), None, where=f"`{file}`")
        source = {"reader": "amazon", "path": str(path), "columns": result.columns, "notes": result.notes}
        reviews = result.frame.hstack([raw[name].rename(target) for name, target in texts.items()]).filter(pl.col("text") != "")
        meta = _meta_file(file)
        dataset = Dataset(result.frame, name=_category(file), source=source)
        return dataset.with_tables(catalogue=meta and _catalogue(meta), reviews=reviews)


def _candidates(path: Path) -> list[Path]:
    files = sorted(path.iterdir()) if path.is_dir() else [path]
    return [file for file in files if file.is_file() and tables.ending(file) in _ENDINGS and not file.name.startswith("meta_")]


def _review_file(path: Path) -> Path | None:
    for file in _candidates(path):
        line = _first_record(file)
        if '"reviewerID"' in line or ('"parent_asin"' in line and '"user_id"' in line):
            return file
    return None


def _meta_file(file: Path) -> Path | None:
    """The `meta_` file of the same category, else the only one there is."""
    found = [other for other in sorted(file.parent.iterdir()) if other.name.startswith("meta_") and tables.ending(other) in _ENDINGS]
    same = [other for other in found if tables.stem(other) == f"meta_{_category(file).lower()}"]
    return same[0] if same else found[0] if len(found) == 1 else None


def _category(file: Path) -> str:
    name = file.name.removesuffix(".gz").rpartition(".")[0]
    return name.removeprefix("reviews_").removesuffix("_5")


def _first_record(file: Path) -> str:
    if tables.ending(file) != ".zip":
        return tables.first_line(file)
    try:
        with zipfile.ZipFile(file) as archive, archive.open(_member(archive, file)) as stream:
            return stream.readline(1 << 16).decode("utf-8", errors="replace")
    except (OSError, zipfile.BadZipFile, DataError):
        return ""


def _member(archive: zipfile.ZipFile, file: Path) -> str:
    names = [name for name in archive.namelist() if name.lower().endswith((".json", ".jsonl"))]
    if len(names) != 1:
        raise DataError(f"`{file}` must hold exactly one .json or .jsonl file and holds {len(names)}; unpack it and give the file")
    return names[0]


def _content(file: Path) -> bytes:
    with tables.broken(file):
        if tables.ending(file) == ".zip":
            with zipfile.ZipFile(file) as archive:
                return archive.read(_member(archive, file))
        with tables.open_binary(file) as stream:
            return stream.read()


def _parse(file: Path, schema: Mapping[str, Any]) -> pl.DataFrame:
    content = _content(file)
    try:
        return pl.read_ndjson(content, schema=dict(schema))
    except pl.exceptions.PolarsError as error:
        raise tables.bad_line(file, content, error) from None


def _catalogue(file: Path) -> Catalogue:
    """One row per item; of items that stand twice (as in 2018) the first row counts."""
    seen: dict[str, dict[str, Any]] = {}
    for number, line in enumerate(_content(file).decode("utf-8").splitlines(), start=1):
        if line.strip():
            item = _item(_record(line, file, number))
            seen.setdefault(item["item_id"], item)
    schema: dict[str, Any] = {
        "item_id": pl.String, "title": pl.String, "brand": pl.String, "categories": pl.List(pl.String), "description": pl.String,
        "features": pl.String, "price": pl.Float64,
    }  # fmt: skip
    frame = pl.DataFrame(list(seen.values()), schema=schema)
    return Catalogue(frame, _KINDS)


def _record(line: str, file: Path, number: int) -> dict[str, Any]:
    """A JSON object, or a Python dictionary as the 2014 files have it (read as a literal: nothing is executed)."""
    try:
        record = json.loads(line) if line.lstrip().startswith('{"') else ast.literal_eval(line.strip())
    except (ValueError, SyntaxError):
        record = None
    if not isinstance(record, dict) or not (record.get("parent_asin") or record.get("asin")):
        raise DataError(f"`{file}`, row {number}: {line[:40]!r} is not an object with `asin` or `parent_asin`; correct or remove the line")
    return record


def _item(record: dict[str, Any]) -> dict[str, Any]:
    categories = record.get("categories") or record.get("category") or []
    return {
        "item_id": record.get("parent_asin") or record["asin"],
        "title": record.get("title") or None,
        "brand": record.get("brand") or record.get("store") or None,
        "categories": list(dict.fromkeys(_flat(categories))),
        "description": " ".join(_flat(record.get("description") or [])) or None,
        "features": " ".join(_flat(record.get("features") or record.get("feature") or [])) or None,
        "price": _price(record.get("price")),
    }


def _flat(value: Any) -> list[str]:
    if isinstance(value, list | tuple):
        return [text for part in value for text in _flat(part)]
    text = str(value).strip()
    return [text] if text else []


def _price(value: Any) -> float | None:
    """`12.5`, `"$1,299.00"`; a range or anything else is unknown."""
    try:
        return float(str(value).replace("$", "").replace(",", ""))
    except ValueError:
        return None
