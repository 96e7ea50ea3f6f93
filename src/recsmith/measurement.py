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
from recsmith.evaluation.cost import CostMeter, energy_estimate, latency, model_size, peak_memory_mb
from recsmith.evaluation.leaks import LeakCheck, leak_checks
from recsmith.evaluation.protocol import describe_protocol
from recsmith.protocols import Progress, RankedLists
from recsmith.recommender import METRIC_CUTOFFS, Recommender, load
from recsmith.run_folder import RUN

MEASUREMENT = FolderKind("measurement", version=1, migrations={})
_DAMAGED = (ArtifactError, pl.exceptions.PolarsError, OSError, KeyError, TypeError, ValueError)
"""What reading a stored result raises when it was cut off, changed, or written by another version."""
_SINGLE = 20
"""Cases that are asked one at a time."""
_RUNS_A_PROCESS = 4
"""To start a process takes as long as to measure several small runs."""
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

    def shuffled(self, seed: int) -> Question:
        """The same with events of equal time in the random order of `seed`."""
        return replace(self, tie_seed=seed)


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
    cost: Mapping[str, Any] = field(default_factory=dict)
    """What answering took here: time, memory and energy of all cases, and the latency of single ones; as `recsmith.evaluation.cost`."""
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

    Read from the run folder where the same question was asked before (unless `fresh`), else computed and stored there. Raises
    `ArtifactError` for a folder that is no run, `DataError` when the data have no such cases and `UserError` for a protocol that would
    ask about events that the run was trained on, unless the question says `force`; the figures are then marked.
    """
    question, opened = question or Question(), open_folder(Path(folder), RUN)
    place = opened / "evaluations" / _key(opened, question, data)
    notes: list[str] = []
    if not fresh and is_folder_of(place, MEASUREMENT):
        try:
            return _read(place, str(folder), opened)
        except _DAMAGED:
            notes.append("the stored result was damaged; it was measured again")
    measured = measure_recommender(load(folder), folder, question, data=data, progress=progress)
    try:
        _write(place, measured)
    except StorageError as error:
        notes.append(f"the result was not kept ({error})")
    return replace(measured, notes=(*measured.notes, *notes))


def stored(folder: str | Path, question: Question, *, data: Dataset | None = None) -> MeasuredRun | None:
    """What `measure` would read; None where it would have to ask the run. Raises `ArtifactError` for a folder that is no run."""
    opened = open_folder(Path(folder), RUN)
    place = opened / "evaluations" / _key(opened, question, data)
    if not is_folder_of(place, MEASUREMENT):
        return None
    try:
        return _read(place, str(folder), opened)
    except _DAMAGED:
        return None


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
    recommender: Recommender,
    name: str | Path,
    question: Question | None = None,
    *,
    data: Dataset | None = None,
    progress: Progress | None = None,
) -> MeasuredRun:
    """Ask a loaded recommender, keep its lists, and measure them; nothing is read or stored."""
    question = question or Question()
    log = recommender.log if data is None else recommender._encode(data)
    log = log if question.tie_seed is None else shuffle_ties(log, question.tie_seed)
    protocol = question.protocol or recommender.recipe.split
    cut = split_log(log, protocol)
    cases: Cases = getattr(cut, question.split)
    if len(cases) == 0:
        raise DataError(f"the {question.split} part of the data has no cases under {protocol.name}; give data with longer histories")
    marks: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    if data is None and (question.protocol is not None or question.tie_seed is not None):
        people = people_of_cases(log, protocol, question.split)
        cases, marks, notes = _without_trained(recommender, cases, people, question, name)
    checks = leak_checks(log, cut, split=question.split, popularity=recommender.popularity if data is None else None)
    with CostMeter() as meter:
        evaluation, lists = _ask(recommender, cases, question, cut, checks, progress)
    cost = {"all cases": meter.cost.as_dict(), "one at a time": single_answers(recommender, cases)}
    return MeasuredRun(str(name), recommender.card, evaluation, describe_cases(cases, log), lists, marks, notes, cost)


def describe_cases(cases: Cases, log: Log) -> pl.DataFrame:
    """`user_id` and `targets` by raw id, as text, one row per case; targets of a case stand in lines."""
    users = log.users.raw(np.maximum(cases.users, 0)).cast(pl.String)
    items = log.items.raw(cases.targets.values).cast(pl.String)
    targets = pl.DataFrame({"case": cases.targets.rows, "item": items}).group_by("case", maintain_order=True)
    joined = targets.agg(pl.col("item").str.join("\n"))["item"]
    return pl.DataFrame({"user_id": users, "targets": joined}).with_columns(
        pl.when(pl.Series(cases.users >= 0)).then("user_id").alias("user_id")
    )


def account(recommender: Recommender) -> dict[str, Any]:
    """What a card says beyond figures: `checks` (leaks and ties of the test part), `decoding` and `cost`."""
    recipe, card = recommender.recipe, recommender.card
    cut = recommender.split()
    checks = leak_checks(recommender.log, cut, popularity=recommender.popularity)
    searched = recommender.codes is not None and getattr(recommender.model, "answers", None) == "codes"
    decoding = {
        "answers": "beam search over item codes, constrained to the catalogue" if searched else "the highest scores of the full catalogue",
        **({"beams": recipe.decoding.beams} if searched else {}),
        "sampling": "none",
        "seen_items": "may come again" if cut.config.repeats_items else "left out",
    }
    seconds, threads = float(card.get("seconds", {}).get("fit", 0.0)), int(card.get("hardware", {}).get("threads") or 1)
    peak = peak_memory_mb()
    energy = energy_estimate(cpu_seconds=seconds * threads, wall_seconds=seconds, memory_gb=peak / 1e3)
    cost: dict[str, Any] = {
        "one_answer_ms": single_answers(recommender, cut.test) if len(cut.test) else None,
        "model_mb": model_size(recommender.model.state_dict()).megabytes,
        "peak_memory_mb": peak,
        "training_energy": {"watt_hours": energy.watt_hours, "formula": energy.formula},
    }
    return {"checks": [check.as_dict() for check in checks], "decoding": decoding, "cost": cost}


def single_answers(recommender: Recommender, cases: Cases) -> dict[str, Any]:
    """Latency of answers to one case each, one after the other, over at most `_SINGLE` cases."""
    rows = [np.array([row]) for row in range(min(len(cases), _SINGLE))]
    k = min(max(METRIC_CUTOFFS), recommender.items)
    return latency(lambda row: recommender.answer(cases.take(row), k), rows, warm_up=min(3, len(rows) - 1)).as_dict()


def people_of_cases(log: Log, protocol: SplitConfig, part: str) -> np.ndarray:
    """Row of the log that each case is about, int64 `[case]`, also where the cut's training part does not know them (`users` = -1).

    Each event carries its row through the cut in the place of its weight, which no protocol reads.
    """
    numbered = replace(log, histories=replace(log.histories, weights=log.histories.rows))
    cases: Cases = getattr(split_log(numbered, protocol), part)
    assert cases.targets.weights is not None
    return cases.targets.weights[cases.targets.offsets[:-1]].astype(np.int64)


def trained_on(cases: Cases, train: Histories, *, items: int) -> np.ndarray:
    """Whether a target of the case was trained on, bool `[case]`: the person has it more often in training than in the case's history.

    Cases without a person (`users` = -1) never are.
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
    """How many processes are worth starting: one per core, and none for fewer than `_RUNS_A_PROCESS` runs each."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else (os.cpu_count() or 1)
    return max(1, min(cores, runs // _RUNS_A_PROCESS))


# ---- asking -------------------------------------------------------------------------------------------------------------


def _ask(
    recommender: Recommender,
    cases: Cases,
    question: Question,
    cut: Split,
    checks: tuple[LeakCheck, ...],
    progress: Progress | None,
) -> tuple[Evaluation, RankedLists]:
    parts: list[RankedLists] = []

    def answer(some: Cases, k: int) -> RankedLists:
        if cut.config.repeats_items:
            parts.append(recommender._answer(some.histories, some.users, k, include_seen=True))
        else:
            parts.append(recommender.answer(some, k))
        return parts[-1]

    catalogue, items = recommender.catalogue, recommender.items
    shuffled = {} if question.tie_seed is None else {"tie_rule": f"events of equal time in random order, seed {question.tie_seed}"}
    evaluation = evaluate_answer(
        answer,
        cases,
        item_count=items,
        ks=tuple(k for k in METRIC_CUTOFFS if k <= items) or (items,),
        split=question.split,
        protocol=describe_protocol(cut.config, **shuffled),
        popularity=recommender.popularity,
        categories=None if catalogue is None else item_categories(catalogue, recommender.log.items),
        checks=checks,
        progress=progress,
    )
    lists = RankedLists.joined(parts)
    return evaluation, lists


def _without_trained(
    recommender: Recommender, cases: Cases, people: np.ndarray, question: Question, name: str | Path
) -> tuple[Cases, tuple[str, ...], tuple[str, ...]]:
    """Cases that another cut asks about, less those that the run was trained on; or all of them, marked, where that is forced."""
    leaked = trained_on(replace(cases, users=people), recommender.split().train, items=recommender.items)
    if not leaked.any():
        return cases, (), ()
    count = f"{int(leaked.sum()):,} of {len(cases):,} cases"
    if question.protocol is not None:
        if not question.force:
            raise UserError(
                f"`{name}` was trained on the targets of {count} of protocol {question.protocol.name}; fit it under that protocol "
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
    known = {place: None if fresh else stored(folder, question, data=data) for place, folder in enumerate(folders)}
    found = {place: run for place, run in known.items() if run is not None}
    missing = [place for place in known if place not in found]
    failed: dict[int, RecsmithError] = {}
    threads = max(1, (os.cpu_count() or 1) // jobs)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn"), initializer=_limit_threads, initargs=(threads,)) as pool:
        asked = {pool.submit(measure, folders[place], question, data=data, fresh=fresh): place for place in missing}
        try:
            for future in as_completed(asked):
                place = asked[future]
                try:
                    found[place] = future.result()
                except (UserError, StorageError) as error:
                    failed[place] = _named(error, folders[place])
                if progress is not None:
                    progress("measuring runs", len(found) + len(failed), len(folders))
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
        name: described for name, described in read_json(opened / MANIFEST)["files"].items() if not name.startswith(_ABOUT_THE_RUN_ONLY)
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
        checks = [check.as_dict() for check in evaluation.checks]
        about = {"checks": checks, "marks": measured.marks, "notes": measured.notes, "cost": measured.cost}
        write_json(draft / "evaluation.json", {**figures, **about})
        pl.DataFrame(dict(evaluation.per_case)).write_parquet(draft / "per_case.parquet")
        measured.cases.write_parquet(draft / "cases.parquet")
        listed = {"items": lists.items.astype(np.int32).ravel(), "scores": lists.scores.astype(np.float32).ravel()}
        pl.DataFrame(listed).write_parquet(draft / "lists.parquet")


def _read(place: Path, name: str, opened: Path) -> MeasuredRun:
    folder = open_folder(place, MEASUREMENT)
    facts = read_json(folder / "evaluation.json")
    cases, values, listed = (pl.read_parquet(folder / f"{part}.parquet") for part in ("cases", "per_case", "lists"))
    marks, notes, cost = tuple(facts.pop("marks")), tuple(facts.pop("notes")), facts.pop("cost")
    facts["checks"] = tuple(LeakCheck(**check) for check in facts["checks"])
    per_case = {column: values[column].to_numpy(writable=True) for column in values.columns}
    items = listed["items"].to_numpy().astype(np.int64).reshape(len(cases), -1)
    lists = RankedLists(items, listed["scores"].to_numpy(writable=True).reshape(items.shape))
    evaluation = Evaluation(per_case=per_case, **facts)
    return MeasuredRun(name, read_json(opened / "card.json"), evaluation, cases, lists, marks, notes, cost, stored=True)
