"""The model card: what a run was, what came out beside what was published, and how to repeat it. Written by the run itself."""

from __future__ import annotations

import inspect
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

from recsmith.evaluation import describe_protocol
from recsmith.recipe import Recipe


def new_card(recipe: Recipe, *, data: dict[str, Any], seed: int, command: str | None) -> dict[str, Any]:
    """The part of a card that is known before training."""
    return {
        "run": None,
        "recipe": recipe.name,
        "title": recipe.title,
        "paper": recipe.paper,
        "data": portable(data),
        "protocol": describe_protocol(recipe.split),
        "split": "test",
        "metrics": {},
        "validation": {},
        "reported": {},
        "seconds": {},
        "seeds": [seed],
        "command": portable(command),
        **provenance(),
    }


def portable(value: Any) -> Any:
    """The same value with the folder that `RECSMITH_DATA` names written as that name, so that a card reads the same on any machine."""
    folder = os.environ.get("RECSMITH_DATA")
    if isinstance(value, dict):
        return {key: portable(entry) for key, entry in value.items()}
    if isinstance(value, str) and folder:
        return value.replace(str(Path(folder).resolve()), "$RECSMITH_DATA").replace(folder, "$RECSMITH_DATA")
    return value


def compare_with_reported(recipe: Recipe, data_name: str, metrics: dict[str, float]) -> dict[str, Any]:
    """`{"source": …, "rows": {metric: {"ours": …, "paper": …, "difference": …}}}`, empty when nothing was published on this data."""
    reported = recipe.reported.get(data_name)
    if reported is None:
        return {}
    rows = {
        name: {"ours": metrics[name], "paper": paper, "difference": metrics[name] - paper}
        for name, paper in reported.metrics.items()
        if name in metrics
    }
    return {"source": reported.source, "rows": rows}


def provenance() -> dict[str, Any]:
    """Commit, hardware and versions of this process."""
    import numpy
    import polars
    import torch

    from recsmith import __version__

    return {
        "commit": _commit(),
        "hardware": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {
            "recsmith": __version__,
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": numpy.__version__,
            "polars": polars.__version__,
        },
    }


def deviations(model: type) -> str | None:
    """The paragraph of a model's docstring that starts with "Deviations"."""
    for paragraph in (inspect.getdoc(model) or "").split("\n\n"):
        if paragraph.strip().lower().startswith("deviations"):
            return " ".join(paragraph.split())
    return None


def markdown(card: dict[str, Any]) -> str:
    """The card for reading."""
    data, protocol = card.get("data", {}), card.get("protocol", {})
    lines = [
        f"# {card.get('title')} on {data.get('name')}",
        "",
        f"Recipe `{card.get('recipe')}`; {card.get('paper')}",
        "",
        f"* Data: {data.get('users')} users, {data.get('items')} items, {data.get('events')} events, content hash `{data.get('hash')}`",
        f"* Protocol: {protocol.get('name')}, version {protocol.get('version')}, ranking over the full catalogue, seen items masked; "
        f"{data.get('tie_rule')}",
        f"* Seeds: {', '.join(map(str, card.get('seeds', [])))}",
        f"* Command: `{card.get('command')}` at commit `{card.get('commit')}`",
        f"* Hardware: {card.get('hardware', {}).get('processor')}, {card.get('hardware', {}).get('threads')} threads, "
        f"GPU: {card.get('hardware', {}).get('gpu') or 'none'}",
        f"* Seconds: {', '.join(f'{name} {value:.1f}' for name, value in card.get('seconds', {}).items())}",
        "",
        *_metric_table(card),
        *_checks(card),
    ]
    for heading in ("language", "decoding", "cost", "training", "augmentation", "encoder", "tokenizer", "search"):
        if card.get(heading):
            lines += ["", f"## {heading.capitalize()}", "", *_facts(card[heading])]
    if card.get("deviations"):
        lines += ["", "## Deviations from the paper", "", card["deviations"]]
    if card.get("notes"):
        lines += ["", "## Notes", "", *(f"* {note['date']}: {note['text']}" for note in card["notes"])]
    if card.get("interrupted"):
        lines += ["", "**Training was interrupted**: these are the best weights until then."]
    return "\n".join(lines) + "\n"


def _metric_table(card: dict[str, Any]) -> list[str]:
    paper, spread = card.get("reported", {}).get("rows", {}), card.get("spread", {})
    ours = f"test (ours, mean ± sd of {len(card.get('seeds', []))} seeds)" if spread else "test (ours, one seed)"
    lines = [f"| metric | validation | {ours} | paper | difference |", "|---|---|---|---|---|"]
    for name, value in card.get("metrics", {}).items():
        validation = card.get("validation", {}).get(name)
        row = paper.get(name, {})
        test = f"{_number(value)} ± {_number(spread[name])}" if name in spread else _number(value)
        lines.append(f"| {name} | {_number(validation)} | {test} | {_number(row.get('paper'))} | {_number(row.get('difference'))} |")
    source = card.get("reported", {}).get("source")
    return [*lines, "", f"Paper: {source}" if source else "Nothing was published for this system on this data."]


def _checks(card: dict[str, Any]) -> list[str]:
    """Leaks and ties of the split that the test figures belong to."""
    if not card.get("checks"):
        return []
    verdicts = {True: "in order", False: "a problem", None: ""}
    rows = [f"| {check['name']} | {check['finding']} | {verdicts[check['passed']]} |" for check in card["checks"]]
    return ["", "## Leaks and ties", "", "| check | finding | |", "|---|---|---|", *rows]


def _facts(values: Any) -> list[str]:
    if not isinstance(values, dict):
        return [str(values)]
    return [f"* {name.replace('_', ' ')}: {_fact(value)}" for name, value in values.items()]


def _fact(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name.replace('_', ' ')} {_fact(part)}" for name, part in value.items())
    return _number(value) if isinstance(value, float) else str(value)


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _commit() -> str | None:
    """Commit of the checkout that this package runs from, with `+changes` when files differ from it; None for an installed wheel."""
    here = Path(__file__).resolve().parents[2]
    if not (here / ".git").exists():
        return None
    try:
        commit = _git(here, "rev-parse", "--short=12", "HEAD")
        return commit + ("+changes" if _git(here, "status", "--porcelain", "--untracked-files=no") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=True).stdout.strip()


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.processor())
