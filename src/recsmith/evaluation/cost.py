"""What a system costs: time, memory, answers per second, tokens and money, energy by a stated formula or by codecarbon, size."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import numpy as np

from recsmith.errors import DataError, UserError, import_extra
from recsmith.evaluation.as_json import json_ready

CORE_WATTS = 12.0
"""Power of one busy processor core unless said otherwise (Lannelongue et al. 2021, mean of common processors)."""
MEMORY_WATTS_PER_GB = 0.3725
"""Power of a gigabyte of memory (Lannelongue et al. 2021)."""
GPU_WATTS = 300.0
"""Power of one busy GPU unless said otherwise: a common board limit; give that of the card at hand."""
OVERHEAD = 1.67
"""Power of cooling and the rest of a data centre over that of the computers (PUE; Lannelongue et al. 2021, world mean)."""


@dataclass(frozen=True)
class Energy:
    """An estimate, not a measurement."""

    watt_hours: float
    formula: str
    """How it was worked out, with every number put in."""


def energy_estimate(
    *,
    cpu_seconds: float,
    wall_seconds: float,
    memory_gb: float,
    gpu_seconds: float = 0.0,
    gpu_watts: float = GPU_WATTS,
    core_watts: float = CORE_WATTS,
    overhead: float = OVERHEAD,
) -> Energy:
    """Energy in watt-hours after Green Algorithms (Lannelongue et al. 2021): cores by the seconds they worked, memory by the clock, both
    times the overhead. Deviation: seconds of processor time instead of cores x usage. Raises `UserError` for negative numbers."""
    given = {"cpu_seconds": cpu_seconds, "wall_seconds": wall_seconds, "memory_gb": memory_gb, "gpu_seconds": gpu_seconds}
    for name, value in given.items():
        if value < 0:
            raise UserError(f"{name} = {value!r} does not work; give 0 or more")
    joules = cpu_seconds * core_watts + wall_seconds * memory_gb * MEMORY_WATTS_PER_GB + gpu_seconds * gpu_watts
    terms = [f"{cpu_seconds:.1f} s of cores x {core_watts:g} W", f"{wall_seconds:.1f} s x {memory_gb:.2f} GB x {MEMORY_WATTS_PER_GB} W/GB"]
    terms += [f"{gpu_seconds:.1f} s of GPU x {gpu_watts:g} W"] if gpu_seconds else []
    return Energy(joules * overhead / 3600, f"({' + '.join(terms)}) x {overhead:g} overhead")


@dataclass(frozen=True)
class Cost:
    """What a piece of work took."""

    seconds: float
    """Wall time."""
    cpu_seconds: float
    """Processor time of this process, all threads."""
    peak_memory_mb: float
    """Largest resident size of the process so far, MB; it may have been reached before the work began."""
    peak_rise_mb: float
    """How much of that the work added, MB."""
    gpu_peak_mb: float | None
    """Largest memory that torch held on the GPU, MB; None without one."""
    energy: Energy

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return json_ready(self)


class CostMeter:
    """Measures what happens inside a `with` block; `cost` is there afterwards.

    with CostMeter() as meter:
        recommender.evaluate("test")
    meter.cost.seconds

    `energy` is "formula" (`energy_estimate`) or "codecarbon", which reads the counters of processor and GPU where there are any and
    takes the power that their makers state elsewhere; it needs the extra `energy` and starts outside the seconds that count.
    """

    def __init__(
        self, *, energy: Literal["formula", "codecarbon"] = "formula", core_watts: float = CORE_WATTS, gpu_watts: float = GPU_WATTS
    ) -> None:
        self._watts = {"core_watts": core_watts, "gpu_watts": gpu_watts}
        self._tracker = _codecarbon() if energy == "codecarbon" else None
        self._cost: Cost | None = None

    def __enter__(self) -> Self:
        _reset_gpu_peak()
        if self._tracker is not None:
            self._tracker.start()
        self._started, self._cpu, self._peak = time.perf_counter(), time.process_time(), peak_memory_mb()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        seconds, cpu, peak = time.perf_counter() - self._started, time.process_time() - self._cpu, peak_memory_mb()
        gpu = _gpu_peak_mb()
        if self._tracker is not None:
            energy = _tracked(self._tracker)
        else:
            gpu_seconds = seconds if gpu else 0.0
            energy = energy_estimate(cpu_seconds=cpu, wall_seconds=seconds, memory_gb=peak / 1e3, gpu_seconds=gpu_seconds, **self._watts)
        self._cost = Cost(seconds, cpu, peak, peak - self._peak, gpu, energy)

    @property
    def cost(self) -> Cost:
        """Raises `UserError` while the block has not ended."""
        if self._cost is None:
            raise UserError("the cost is known when the `with` block has ended; read it after that")
        return self._cost


def _codecarbon() -> Any:
    """A tracker of this process that writes no file and asks no network; the country matters for emissions, which are not used."""
    library = import_extra("codecarbon", extra="energy", purpose='CostMeter(energy="codecarbon")')
    settings = {"output_methods": [], "log_level": "error", "allow_multiple_runs": True, "tracking_mode": "process"}
    return library.OfflineEmissionsTracker(country_iso_code="USA", **settings)


def _tracked(tracker: Any) -> Energy:
    tracker.stop()
    found = tracker.final_emissions_data
    source = f"codecarbon {found.codecarbon_version}, this process: processor {found.cpu_energy * 1e3:.3g} Wh ({found.cpu_model}), "
    return Energy(found.energy_consumed * 1e3, source + f"memory {found.ram_energy * 1e3:.3g} Wh, GPU {found.gpu_energy * 1e3:.3g} Wh")


def peak_memory_mb() -> float:
    """Largest resident size of this process so far, MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


@dataclass(frozen=True)
class Latency:
    """Times of single requests, in milliseconds."""

    requests: int
    p50: float
    p95: float
    p99: float
    mean: float
    per_second: float
    """Requests answered per second, one after the other."""

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return json_ready(self)


def latency(call: Callable[[Any], Any], requests: Iterable[Any], *, warm_up: int = 3) -> Latency:
    """Call once per request, one after the other; the first `warm_up` calls do not count. Raises `DataError` when none is left."""
    taken = []
    for number, request in enumerate(requests):
        started = time.perf_counter()
        call(request)
        if number >= warm_up:
            taken.append(time.perf_counter() - started)
    if not taken:
        raise DataError(f"there are no requests beyond the {warm_up} that warm up; give more")
    return latency_of(np.array(taken))


def latency_of(seconds: np.ndarray) -> Latency:
    """Percentiles of times that were measured elsewhere, in seconds `[request]`."""
    p50, p95, p99 = (float(value) * 1e3 for value in np.percentile(seconds, [50, 95, 99]))
    return Latency(len(seconds), p50, p95, p99, float(seconds.mean()) * 1e3, float(len(seconds) / max(seconds.sum(), 1e-12)))


@dataclass(frozen=True)
class LanguageCost:
    """Calls of a language model; add them up with `+`."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    money: float | None = 0.0
    """In the currency of the prices; None when a price was not given."""

    @classmethod
    def of(
        cls, prompt_tokens: int, completion_tokens: int, *, prompt_price: float | None = None, completion_price: float | None = None
    ) -> LanguageCost:
        """One call; prices are per million tokens."""
        money = None
        if prompt_price is not None and completion_price is not None:
            money = (prompt_tokens * prompt_price + completion_tokens * completion_price) / 1e6
        return cls(1, prompt_tokens, completion_tokens, money)

    def __add__(self, other: LanguageCost) -> LanguageCost:
        money = None if self.money is None or other.money is None else self.money + other.money
        return LanguageCost(
            self.calls + other.calls,
            self.prompt_tokens + other.prompt_tokens,
            self.completion_tokens + other.completion_tokens,
            money,
        )

    def as_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return json_ready(self)


@dataclass(frozen=True)
class ModelSize:
    """How big a model is."""

    parameters: int
    megabytes: float


def model_size(weights: Mapping[str, Any]) -> ModelSize:
    """Size of named arrays or tensors, such as a `state_dict`; entries that share memory count each."""
    return ModelSize(sum(int(np.prod(array.shape)) for array in weights.values()), sum(array.nbytes for array in weights.values()) / 1e6)


def folder_megabytes(folder: str | Path) -> float:
    """Size of all files under a folder, such as a run's, MB."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file()) / 1e6


def _torch() -> Any | None:
    """torch, if somebody has loaded it and it has a GPU."""
    torch = sys.modules.get("torch")
    return torch if torch is not None and torch.cuda.is_available() else None


def _reset_gpu_peak() -> None:
    if (torch := _torch()) is not None:
        torch.cuda.reset_peak_memory_stats()


def _gpu_peak_mb() -> float | None:
    torch = _torch()
    return None if torch is None else torch.cuda.max_memory_allocated() / 1e6
