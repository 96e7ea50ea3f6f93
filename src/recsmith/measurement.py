"""Runs measured once: what a run answered on held-out cases and what that was worth, kept in the run folder until something changes.

A stored measurement is a folder `RUN/evaluations/KEY`; the key is a hash of the run's model and log, the protocol, the split and the data,
so that a measurement is found again only where it would come out the same.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl

from recsmith.artifacts import MANIFEST, FolderKind, is_folder_of, open_folder, read_json, write_folder, write_json
from recsmith.data import Cases, Dataset, Histories, Log, Split, SplitConfig, item_categories, shuffle_ties, split_log
from recsmith.errors import ArtifactError, DataError, RecsmithError, StorageError, UserError
from recsmith.evaluation import Evaluation, evaluate_answer
from recsmith.protocols import Progress, RankedLists
from recsmith.recommender import METRIC_CUTOFFS, Recommender, load
from recsmith.run_folder import RUN

MEASUREMENT = FolderKind("measurement", version=1, migrations={})
_ABOUT_THE_RUN_ONLY = ("card.", "curve.")
"""Files of a run folder that may change without changing an answer."""


@dataclass(frozen=True)
class Question:
    """What is asked of a run."""

    split: Literal["test", "validation"] = "test"
    protocol: SplitConfig | None = None
    """How the log is cut; None: as when the run was fitted."""
    tie_seed: int | None = None
    """Seed for the order of events of equal time; None keeps the order of the file."""
    force: bool = False
    """Ask even about events that the run was trained on."""


@dataclass(frozen=True)
class MeasuredRun:
    """A run with its figures and the cases that they belong to."""

    name: str
    """The folder, as it was given."""
    card: Mapping[str, Any]
    evaluation: Evaluation
    cases: pl.DataFrame
    """`user_id` (null for people unseen in training) and `targets`, both as text; one row per value in `evaluation.per_case`."""
    lists: RankedLists | None = None
    """What the run answered, one row per case."""
    marks: tuple[str, ...] = ()
    """In what this run differs from the first so that the figures are not comparable; empty when they are."""
    notes: tuple[str, ...] = ()
    """What a reader of the figures should know: cases left out, a result that could not be kept."""
    stored: bool = field(default=False, compare=False)
    """Whether the figures were read, not computed."""


def measure(
    folder: str | Path,
    question: Question | None = None,
    *,
    data: Dataset | None = None,
    fresh: bool = False,
    progress: Progress | None = None,
) -> MeasuredRun:
    """The run's full-catalogue figures on its own held-out cases, or on those of other `data`.

    Read from the run folder where the same question was asked before (unless `fresh`), else computed and stored there. Raises `ArtifactError`
    for a folder that is no run, `DataError` when the data have no such cases and `UserError` for a protocol that would ask about
    events that the run was trained on, unless the question says `force`; the figures are then marked.
    """
    question, opened = question or Question(), open_folder(Path(folder), RUN)
    place = opened / "evaluations" / _key(opened, question, data)
    if not fresh and is_folder_of(place, MEASUREMENT) and (found := _read(place, str(folder), opened)) is not None:
        return found
    measured = measure_recommender(load(folder), folder, question, data=data, progress=progress)
    try:
        _write(place, measured)
    except StorageError as error:
        return replace(measured, notes=(*measured.notes, f"the result was not kept ({error})"))
    return measured


def measure_all(
    folders: Sequence[str | Path],
    question: Question | None = None,
    *,
    data: Dataset | None = None,
    jobs: int = 1,
    fresh: bool = False,
    progress: Progress | None = None,
) -> list[MeasuredRun]:
    """`measure` for each folder, `jobs` processes at a time; what is finished is kept when another run fails or the work is stopped.

    Raises the first error, naming the run, after the others have ended.
    """
    if jobs < 1:
        raise UserError(f"jobs = {jobs} does not work; give the number of processes, from 1 to about {os.cpu_count()}")
    question = question or Question()
    if jobs == 1 or len(folders) == 1:
        return _one_by_one(folders, question, data, fresh, progress)
    return _in_processes(folders, question, data, jobs, fresh, progress)


def measure_recommender(
    recommender: Recommender, name: str | Path, question: Question | None = None, *, data: Dataset | None = None, progress: Progress | None = None
) -> MeasuredRun:
    """Ask a loaded recommender, keep its lists, and measure them; nothing is read or stored."""
    question = question or Question()
    log = recommender.log if data is None else recommender._encode(data)
    protocol = question.protocol or recommender.recipe.split
    cut = split_log(log if question.tie_seed is None else shuffle_ties(log, question.tie_seed), protocol)
    cases: Cases = getattr(cut, question.split)
    if len(cases) == 0:
        raise DataError(f"the {question.split} part of the data has no cases under {protocol.name}; give data with longer histories")
    marks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if data is None and (question.protocol is not None or question.tie_seed is not None):
        cases, marks, notes = _without_trained(recommender, cases, question, name)
    evaluation, lists = _ask(recommender, cases, question, cut, progress)
    return MeasuredRun(str(name), recommender.card, evaluation, describe_cases(cases, log), lists, marks, notes)


def describe_cases(cases: Cases, log: Log) -> pl.DataFrame:
    """`user_id` and `targets` by raw id, as text, one row per case; targets of a case stand in lines."""
    users = log.users.raw(np.maximum(cases.users, 0)).cast(pl.String)
    items = log.items.raw(cases.targets.values).cast(pl.String)
    targets = pl.DataFrame({"case": cases.targets.rows, "item": items}).group_by("case", maintain_order=True)
    joined = targets.agg(pl.col("item").str.join("\n"))["item"]
    return pl.DataFrame({"user_id": users, "targets": joined}).with_columns(
        pl.when(pl.Series(cases.users >= 0)).then("user_id").alias("user_id")
    )


def trained_on(cases: Cases, train: Histories, *, items: int) -> np.ndarray:
    """Whether a target of the case was trained on: the person has the item more often in training than in the case's history; bool `[case]`.

    Cases of people unseen in training are never.
    """
    known = cases.users >= 0
    rows = cases.targets.rows[known[cases.targets.rows]]
    values = cases.targets.values[known[cases.targets.rows]]
    trained = _counts(cases.users[rows] * items + values, train.rows * items + train.values)
    shown = _counts(rows * items + values, cases.histories.rows * items + cases.histories.values)
    found = np.zeros(len(cases), dtype=bool)
    found[rows[trained > shown]] = True
    return found


def processes_for(runs: int) -> int:
    """How many processes are worth starting for so many runs on this machine."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(cores, runs))


# ---- asking -------------------------------------------------------------------------------------------------------------


def _ask(
    recommender: Recommender, cases: Cases, question: Question, cut: Split, progress: Progress | None
) -> tuple[Evaluation, RankedLists]:
    parts: list[RankedLists] = []

    def answer(some: Cases, k: int) -> RankedLists:
        parts.append(recommender.answer(some, k))
        return parts[-1]

    catalogue, items = recommender.catalogue, recommender.items
    evaluation = evaluate_answer(
        answer,
        cases,
        item_count=items,
        ks=tuple(k for k in METRIC_CUTOFFS if k <= items) or (items,),
        split=question.split,
        protocol=cut.config.model_dump(mode="json") | ({} if question.tie_seed is None else {"tie_seed": question.tie_seed}),
        popularity=recommender.popularity,
        categories=None if catalogue is None else item_categories(catalogue, recommender.log.items),
        progress=progress,
    )
    lists = RankedLists(np.concatenate([part.items for part in parts]), np.concatenate([part.scores for part in parts]))
    return evaluation, lists


def _without_trained(
    recommender: Recommender, cases: Cases, question: Question, name: str | Path
) -> tuple[Cases, tuple[str, ...], tuple[str, ...]]:
    """Cases that another cut asks about, less those that the run was trained on; or all of them, marked, where that is forced."""
    leaked = trained_on(cases, recommender.split().train, items=recommender.items)
    if not leaked.any():
        return cases, (), ()
    count = f"{int(leaked.sum()):,} of {len(cases):,} cases"
    if question.protocol is not None:
        if not question.force:
            raise UserError(
                f"`{name}` was trained on the targets of {count} that protocol {question.protocol.name} asks about; fit it under that protocol "
                f"(--set split.name={question.protocol.name}), or --force to see the figures marked"
            )
        return cases, (f"trained on the targets of {count}",), ()
    if leaked.all():
        raise DataError(f"with ties shuffled `{name}` was trained on the target of every case; fit it again on the shuffled log instead")
    return cases.take(np.flatnonzero(~leaked)), (), (f"ties shuffled: {count} left out, because the run was trained on their targets",)


def _counts(wanted: np.ndarray, keys: np.ndarray) -> np.ndarray:
    """How often each wanted key occurs among `keys`, int64 `[wanted]`."""
    ordered = np.sort(keys)
    return np.searchsorted(ordered, wanted, side="right") - np.searchsorted(ordered, wanted, side="left")


# ---- many runs ----------------------------------------------------------------------------------------------------------


def _one_by_one(
    folders: Sequence[str | Path], question: Question, data: Dataset | None, fresh: bool, progress: Progress | None
) -> list[MeasuredRun]:
    found: list[MeasuredRun] = []
    failed: list[RecsmithError] = []
    for folder in folders:
        try:
            found.append(measure(folder, question, data=data, fresh=fresh, progress=progress))
        except (UserError, StorageError) as error:
            failed.append(_named(error, folder))
    if failed:
        raise failed[0]
    return found


def _in_processes(
    folders: Sequence[str | Path], question: Question, data: Dataset | None, jobs: int, fresh: bool, progress: Progress | None
) -> list[MeasuredRun]:
    found: dict[int, MeasuredRun] = {}
    failed: dict[int, RecsmithError] = {}
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_limit_threads, initargs=(threads,)) as pool:
        asked = {pool.submit(measure, folder, question, data=data, fresh=fresh): place for place, folder in enumerate(folders)}
        try:
            for done, future in enumerate(as_completed(asked), start=1):
                place = asked[future]
                try:
                    found[place] = future.result()
                except (UserError, StorageError) as error:
                    failed[place] = _named(error, folders[place])
                if progress is not None:
                    progress("measuring runs", done, len(folders))
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    if failed:
        raise failed[min(failed)]
    return [found[place] for place in range(len(folders))]


def _limit_threads(threads: int) -> None:
    import torch

    torch.set_num_threads(threads)


def _named(error: RecsmithError, folder: str | Path) -> RecsmithError:
    return error if str(folder) in str(error) else type(error)(f"`{folder}`: {error}")


# ---- storing --------------------------------------------------------------------------------------------------------------


def _key(opened: Path, question: Question, data: Dataset | None) -> str:
    """Hash of everything that the figures depend on."""
    from recsmith import __version__

    files = {
        name: described
        for name, described in read_json(opened / MANIFEST)["files"].items()
        if not name.startswith(_ABOUT_THE_RUN_ONLY)
    }
    asked = {
        "split": question.split,
        "protocol": None if question.protocol is None else question.protocol.model_dump(mode="json"),
        "tie_seed": question.tie_seed,
        "force": question.force,
        "data": None if data is None else data.hash,
        "cutoffs": METRIC_CUTOFFS,
        "recsmith": __version__,
        "format": MEASUREMENT.version,
    }
    text = json.dumps([files, asked], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:20]


def _write(place: Path, measured: MeasuredRun) -> None:
    evaluation, lists = measured.evaluation, measured.lists
    assert lists is not None
    with write_folder(place, MEASUREMENT) as draft:
        figures = {name: getattr(evaluation, name) for name in ("metrics", "figures", "protocol", "split", "seconds", "cases")}
        write_json(draft / "evaluation.json", {**figures, "marks": measured.marks, "notes": measured.notes})
        pl.DataFrame(dict(evaluation.per_case)).write_parquet(draft / "per_case.parquet")
        measured.cases.write_parquet(draft / "cases.parquet")
        listed = {"items": lists.items.astype(np.int32).ravel(), "scores": lists.scores.astype(np.float32).ravel()}
        pl.DataFrame(listed).write_parquet(draft / "lists.parquet")


def _read(place: Path, name: str, opened: Path) -> MeasuredRun | None:
    """A stored measurement, None where it is damaged: then it is made again."""
    try:
        folder = open_folder(place, MEASUREMENT)
        facts = read_json(folder / "evaluation.json")
        cases = pl.read_parquet(folder / "cases.parquet")
        values = pl.read_parquet(folder / "per_case.parquet")
        lists = pl.read_parquet(folder / "lists.parquet")
        card = read_json(opened / "card.json")
    except (ArtifactError, pl.exceptions.PolarsError, OSError):
        return None
    marks, notes = tuple(facts.pop("marks")), tuple(facts.pop("notes"))
    per_case = {column: values[column].to_numpy(writable=True) for column in values.columns}
    shape = (len(cases), -1)
    ranked = RankedLists(
        lists["items"].to_numpy().astype(np.int64).reshape(shape), lists["scores"].to_numpy(writable=True).reshape(shape)
    )
    return MeasuredRun(name, card, Evaluation(per_case=per_case, **facts), cases, ranked, marks, notes, stored=True)
