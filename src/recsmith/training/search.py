"""Hyper-parameter search: a space, a budget, and a folder that remembers every trial, so that a killed search goes on."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from recsmith.errors import ArtifactError, RecsmithError, StorageError, TrainingInterruptedError, UserError, import_extra
from recsmith.protocols import Progress
from recsmith.seeding import derive_seed
from recsmith.training.search_space import SearchSpace

Settings = Mapping[str, Any]
Objective = Callable[[dict[str, Any]], float]
"""Trains with these settings, dotted key → value, and returns the validation figure; higher is better."""

_ATTEMPTS = 20
_MOST_POINTS = 100_000


@dataclass(frozen=True)
class Trial:
    """One line of `trials.jsonl`."""

    number: int
    """Counted from 0; trial 0 is the defaults."""
    parameters: dict[str, Any]
    """Setting → value; empty in trial 0 where the defaults were not given."""
    value: float | None
    """The validation figure; None for a failed trial."""
    seconds: float
    """Wall time of the trial."""
    finished: str
    """When it ended, ISO 8601 in UTC."""
    failure: str | None = None
    """Why it failed."""


@dataclass(frozen=True)
class SearchResult:
    """What was searched, with which budget, and what was found."""

    metric: str
    """Name of the figure that was maximised."""
    space: SearchSpace
    """Where was searched."""
    budget: dict[str, float | None]
    """Trials and hours that were allowed."""
    seed: int
    """Seed of the search."""
    trials: tuple[Trial, ...]
    """All trials in order, failed ones included."""
    best: Trial
    """The trial of the greatest value; the earlier one of equals."""
    ended: str
    """Why the search stopped: "trials", "hours" or "space exhausted"."""

    def as_dict(self) -> dict[str, Any]:
        """Plain values for the card of a run, all trials included."""
        return {
            "metric": self.metric,
            "best": {"value": self.best.value, "parameters": self.best.parameters, "trial": self.best.number},
            "default": self.trials[0].value,
            "budget": self.budget,
            "done": len(self.trials),
            "failed": sum(trial.value is None for trial in self.trials),
            "hours": sum(trial.seconds for trial in self.trials) / 3600,
            "ended": self.ended,
            "seed": self.seed,
            "space": self.space.table(),
            "trials": [asdict(trial) for trial in self.trials],
        }


def search(
    objective: Objective,
    space: SearchSpace,
    *,
    trials: int,
    hours: float | None = None,
    storage: Path,
    seed: int = 0,
    metric: str = "NDCG@10",
    defaults: Settings | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """Maximise `objective` over `space` with a seeded TPE sampler (optuna).

    Trial 0 is the defaults: `defaults` are the values that the keys of the space have without a search; where they are not given,
    the objective is called with no settings at all. The folder `storage` holds `search.json` (what is searched) and
    `trials.jsonl` (a line per trial); called again on it, the search goes on, and it proposes the same trials as if it had
    never been interrupted. No setting is tried twice. `hours` counts the time of all trials, those before an interruption
    included, and ends the search after the trial in which it is used up. A trial that fails with a `RecsmithError`, for lack of
    memory or with a value that is not a number is recorded with its reason.

    Raises `UserError` when all trials failed, `ArtifactError` when `storage` holds another search or is damaged, `StorageError`
    when it cannot be written, `MissingExtraError` without optuna.
    """
    _check_budget(trials, hours)
    proposals = _Proposals(space, seed)
    journal = _Journal(storage, {"metric": metric, "seed": seed, "space": space.table(), "defaults": dict(defaults or {})})
    done = journal.trials()
    for trial in done:
        proposals.add(trial)
    ended = "trials"
    while len(done) < trials:
        if hours is not None and sum(trial.seconds for trial in done) >= hours * 3600:
            ended = "hours"
            break
        parameters = proposals.next(len(done)) if done else dict(defaults or {})
        if parameters is None:
            ended = "space exhausted"
            break
        _tell(progress, metric, done, trials)
        trial = _run(objective, parameters, number=len(done))
        journal.append(trial)
        proposals.add(trial)
        done.append(trial)
    _tell(progress, metric, done, trials)
    return SearchResult(metric, space, {"trials": trials, "hours": hours}, seed, tuple(done), _best(done), ended)


def _check_budget(trials: int, hours: float | None) -> None:
    if trials < 1:
        raise UserError(f"a search of {trials!r} trials finds nothing; give `trials` of at least 1")
    if hours is not None and not hours > 0:
        raise UserError(f"a search of {hours!r} hours finds nothing; give `hours` above 0 or leave it unset")


def _best(trials: list[Trial]) -> Trial:
    good = [trial for trial in trials if trial.value is not None]
    if not good:
        raise UserError(f"all {len(trials)} trials of the search failed; the first one: {trials[0].failure}")
    return max(good, key=lambda trial: (trial.value, -trial.number))


def _tell(progress: Progress | None, metric: str, done: list[Trial], total: int) -> None:
    if progress is None:
        return
    values = [trial.value for trial in done if trial.value is not None]
    progress(f"search (best {metric} {max(values):.4f})" if values else "search", len(done), total)


# ---- one trial ----


def _run(objective: Objective, parameters: dict[str, Any], *, number: int) -> Trial:
    started = time.perf_counter()
    value, failure = _attempt(objective, dict(parameters))
    seconds = time.perf_counter() - started
    return Trial(number, parameters, value, seconds, datetime.now(UTC).isoformat(timespec="seconds"), failure)


def _attempt(objective: Objective, parameters: dict[str, Any]) -> tuple[float | None, str | None]:
    try:
        value = float(objective(parameters))
    except (TrainingInterruptedError, StorageError):
        raise
    except (RecsmithError, MemoryError) as error:
        return None, _reason(error)
    except RuntimeError as error:
        if not _is_out_of_memory(error):
            raise
        return None, _reason(error)
    return (value, None) if math.isfinite(value) else (None, f"the value was {value}")


def _is_out_of_memory(error: RuntimeError) -> bool:
    """torch raises its own class on a GPU and a plain `RuntimeError` on the CPU."""
    text = str(error).lower()
    return "out of memory" in text or "not enough memory" in text or "can't allocate memory" in text


def _reason(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:500]


# ---- what to try next ----


class _Proposals:
    """Asks optuna for settings; the answer depends on the seed, the number and the finished trials alone."""

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._optuna: Any = import_extra("optuna", extra="tune", purpose="`recsmith tune`")
        self._optuna.logging.set_verbosity(self._optuna.logging.WARNING)
        self._space = space
        self._seed = seed
        self._distributions = space.distributions()
        self._study = self._optuna.create_study(direction="maximize")
        self._tried: set[str] = set()

    def add(self, trial: Trial) -> None:
        """Let the sampler know of a finished trial, where it lies inside the space."""
        self._tried.add(_key(trial.parameters))
        coordinates = self._space.encode(trial.parameters)
        if coordinates is None:
            return
        states = self._optuna.trial.TrialState
        self._study.add_trial(
            self._optuna.trial.create_trial(
                params=coordinates,
                distributions=self._distributions,
                value=trial.value,
                state=states.FAIL if trial.value is None else states.COMPLETE,
            )
        )

    def next(self, number: int) -> dict[str, Any] | None:
        """Settings that were not tried before, or None when there are none left."""
        for attempt in range(_ATTEMPTS):
            seed = derive_seed(self._seed, "search", number, attempt) % 2**32
            self._study.sampler = self._optuna.samplers.TPESampler(seed=seed)
            asked = self._study.ask(self._distributions)
            self._study.tell(asked, state=self._optuna.trial.TrialState.FAIL)
            parameters = self._space.decode(asked.params)
            if _key(parameters) not in self._tried:
                return parameters
        return self._any_untried(number)

    def _any_untried(self, number: int) -> dict[str, Any] | None:
        """For a sampler that has made up its mind: one of the settings left in a space without continuous ranges."""
        left = [point for point in islice(self._space.points() or (), _MOST_POINTS) if _key(point) not in self._tried]
        return left[derive_seed(self._seed, "search", number) % len(left)] if left else None


def _key(parameters: Settings) -> str:
    return json.dumps(dict(parameters), sort_keys=True)


# ---- the folder ----


class _Journal:
    """`search.json` and `trials.jsonl` in the folder of a search; a line half written when the process died is dropped."""

    def __init__(self, folder: Path, header: dict[str, Any]) -> None:
        self._header_path, self._path = Path(folder) / "search.json", Path(folder) / "trials.jsonl"
        header = json.loads(json.dumps(header))
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
            if not self._header_path.exists():
                self._header_path.write_text(json.dumps(header, indent=2) + "\n", encoding="utf-8")
        except OSError as error:
            raise _cannot_write(self._header_path, error) from None
        self._check(header)

    def _check(self, header: dict[str, Any]) -> None:
        try:
            stored = json.loads(self._header_path.read_text(encoding="utf-8"))
        except json.JSONDecodeError:
            raise ArtifactError(f"`{self._header_path}` is not valid JSON; delete the folder and search again") from None
        for key, value in header.items():
            if stored.get(key) != value:
                raise ArtifactError(
                    f"`{self._header_path.parent}` holds a search with {key} {stored.get(key)!r}, not {value!r}; "
                    "give another folder or the same settings"
                )

    def trials(self) -> list[Trial]:
        """The finished trials; cuts a torn last line off the file."""
        if not self._path.exists():
            return []
        content = self._path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            os.truncate(self._path, len(whole))
        try:
            return [Trial(**json.loads(line)) for line in whole.decode().splitlines()]
        except (json.JSONDecodeError, TypeError) as error:
            raise ArtifactError(f"`{self._path}` is damaged ({error}); delete the folder and search again") from None

    def append(self, trial: Trial) -> None:
        """Write a trial down for good before the next one starts."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(trial)) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _cannot_write(self._path, error) from None


def _cannot_write(path: Path, error: OSError) -> StorageError:
    return StorageError(f"cannot write `{path}`: {error.strerror}; free some space or choose another place")
