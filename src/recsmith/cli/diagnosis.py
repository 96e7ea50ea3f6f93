"""What `recsmith doctor` finds out: versions against what this recsmith needs, extras, machine, folders, and known traps."""

from __future__ import annotations

import operator
import os
import platform
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

ENABLES = {
    "text": "item texts as vectors (MiniLM) for item tokenizers: recsmith run tiger; without it hashed TF-IDF is used",
    "language": "language models behind an endpoint, fuzzy grounding of titles: --set model.backend.kind=endpoint",
    "retrieval": "approximate search over large catalogues (FAISS); without it exact search is there",
    "serve": "recsmith serve, its state in SQLite",
    "postgres": "recsmith serve with its state in PostgreSQL: --store postgresql://…",
    "traces": "traces of recsmith serve for an OpenTelemetry collector: setting traces",
    "redis": "several workers that tell each other at once what has changed: setting redis of recsmith serve",
    "text-metrics": "BLEU of generated texts (sacrebleu)",
    "energy": 'energy by codecarbon: CostMeter(energy="codecarbon")',
    "hub": "any sentence-transformers model as text encoder: --set encoder.name=…",
    "tune": "recsmith tune",
    "plot": "the loss curve in run folders and the pictures of recsmith report",
    "images": "cover pictures of the built-in world",
    "dev": "the tests and checks of a checkout: make test, make check",
}
"""Extra → what it is good for."""

_COMPARE = {">=": operator.ge, "<=": operator.le, "==": operator.eq, "!=": operator.ne, ">": operator.gt, "<": operator.lt}
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)\s*(?:\[[^\]]*\])?\s*([^;]*)(?:;.*extra\s*==\s*['\"]([^'\"]+)['\"])?")


def diagnose() -> dict[str, Any]:
    """Everything as plain values, ready for JSON."""
    from recsmith import __version__

    packages, extras = _packages()
    torch = _torch()
    warnings, steps = _advice(packages, extras, torch)
    return {
        "recsmith": __version__,
        "location": str(Path(__file__).parents[1]),
        "python": platform.python_version(),
        "executable": sys.executable,
        "machine": _machine(),
        "torch": torch,
        "packages": packages,
        "extras": extras,
        "folders": _folders(),
        "warnings": warnings,
        "what_to_do": steps,
    }


def _packages() -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:
    core: list[dict[str, Any]] = []
    extras: dict[str, dict[str, Any]] = {}
    for requirement in requires("recsmith") or []:
        match = _REQUIREMENT.match(requirement)
        if match is None:
            continue
        name, wanted, extra = match[1], match[2].strip(), match[3]
        found = _version(name)
        if extra is None:
            core.append({"name": name, "version": found, "needs": wanted, "fits": found is not None and fits(found, wanted)})
            continue
        entry = extras.setdefault(extra, {"installed": True, "enables": ENABLES.get(extra, ""), "packages": {}, "unfit": []})
        entry["packages"][name] = found
        entry["installed"] = entry["installed"] and found is not None
        if found is not None and not fits(found, wanted):
            entry["unfit"].append(f"{name} {found} (needed: {wanted})")
    return core, extras


def fits(found: str, wanted: str) -> bool:
    """Whether a version such as `2.13.0+cpu` satisfies `>=2.13,<2.14`; pre-release marks are ignored."""
    for condition in filter(None, (part.strip() for part in wanted.split(","))):
        match = re.match(r"(>=|<=|==|!=|~=|>|<)\s*([0-9][0-9.]*)", condition)
        if match is not None and not _holds(_numbers(found), match[1], _numbers(match[2])):
            return False
    return True


def _holds(found: tuple[int, ...], sign: str, wanted: tuple[int, ...]) -> bool:
    if sign == "~=":
        return found >= wanted and found[: len(wanted) - 1] == wanted[:-1]
    length = max(len(found), len(wanted))
    left, right = (numbers + (0,) * (length - len(numbers)) for numbers in (found, wanted))
    return bool(_COMPARE[sign](left, right))


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(digits) for digits in re.findall(r"\d+", re.split(r"[+a-zA-Z]", text)[0]))


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _torch() -> dict[str, Any]:
    if find_spec("torch") is None:
        return {"installed": False, "version": None, "cuda": False, "gpu": None, "bf16": False, "threads": None}
    import torch

    from recsmith.runtime import Runtime

    chosen = Runtime.choose()
    return {
        "installed": True,
        "version": torch.__version__,
        "cuda": torch.cuda.is_available(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "bf16": chosen.compute_dtype == torch.bfloat16,
        "threads": torch.get_num_threads(),
    }


def _machine() -> dict[str, Any]:
    memory = _memory()
    return {
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_bytes": memory.get("MemTotal"),
        "memory_free_bytes": memory.get("MemAvailable"),
        "disk_free_bytes": shutil.disk_usage(".").free,
    }


def _memory() -> dict[str, int]:
    """Lines of /proc/meminfo in bytes; empty where there is none."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return {name: int(amount.split()[0]) * 1024 for name, _, amount in (line.partition(":") for line in lines)}


def _folders() -> dict[str, str | None]:
    from recsmith.runtime import default_cache

    named = os.environ.get("RECSMITH_DATA")
    missing = "" if named is None or Path(named).is_dir() else " (RECSMITH_DATA names it, but it does not exist)"
    return {"data": None if named is None else named + missing, "cache": str(default_cache())}


def _advice(packages: list[dict[str, Any]], extras: dict[str, dict[str, Any]], torch: dict[str, Any]) -> tuple[list[str], list[str]]:
    warnings = [f"{row['name']} {row['version'] or 'is missing'}; needed: {row['needs']}" for row in packages if not row["fits"]]
    warnings += [problem for extra in extras.values() for problem in extra["unfit"]]
    steps = ["pip install --upgrade recsmith   (brings its core packages to the versions it needs)"] if warnings else []
    if find_spec("torchvision") is not None:
        warnings.append("torchvision is installed: transformers imports it, and a build that does not match torch breaks the text encoder")
        steps.append("pip uninstall torchvision   (recsmith does not use it), or keep recsmith in an environment of its own")
    if torch["installed"] and not torch["cuda"] and "+cu" in str(torch["version"]):
        warnings.append(f"torch {torch['version']} is a build for CUDA, but no GPU is visible; a CPU build saves gigabytes of disk")
    named = os.environ.get("RECSMITH_DATA")
    if named is not None and not Path(named).is_dir():
        warnings.append(f"RECSMITH_DATA names `{named}`, which does not exist; tests on real data will skip")
    free = shutil.disk_usage(".").free
    if free < 2**30:
        warnings.append(f"only {free / 2**20:.0f} MiB of disk are free here; a run that cannot be saved is lost")
    for name, extra in extras.items():
        if not extra["installed"] and name != "dev":
            steps.append(f"pip install 'recsmith[{name}]'   for {extra['enables']}")
    return warnings, steps
