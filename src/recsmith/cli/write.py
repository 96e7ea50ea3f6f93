"""`recsmith write`: let a language model write texts of items, profiles of people, items or events into a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from recsmith.cli import display, language_costs, options

app = typer.Typer(add_completion=False)

_ASKING = ("backend", "budget", "cache")


@app.command()
def write(
    writer: Annotated[str, typer.Argument(metavar="WRITER", help="llm-rec, kar, genre, cold-pairs, llmrec, embsum, aspects, mint, …")],
    data: options.Data,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", help="Folder to write: a prepared data set with what was written.")],
    recipe: Annotated[
        str, typer.Option("--for", metavar="RECIPE", help="Recipe whose view and split say which events may be told; any model fits.")
    ] = "sasrec",
    columns: options.Columns = None,
    settings: options.Settings = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask and write nothing; say what it would cost at most.")] = False,
    as_json: options.Json = False,
) -> None:
    """Ask a language model and write what it says into the data; people are told of by training events alone.

    `--set styles=["basic"]` changes a setting of the writer, `--set backend.kind=endpoint` who is asked (without one: extracts of what
    the prompts tell), `--set budget.max_tokens=100000` what may be spent, `--set split.name=ratio` the recipe. Answers are kept: the same
    command goes on after a kill and pays nothing twice.

    Example: recsmith write aspects --data world --out data/aspects --set backend.kind=local --set backend.local.folder=models/qwen
    """
    from recsmith.language.writers.writing import WritingConfig
    from recsmith.language.writers.writing import write as write_into
    from recsmith.recipe import load_recipe
    from recsmith.runtime import default_cache

    chosen = options.parse_settings(settings)
    plan = load_recipe(recipe, settings={key: chosen.pop(key) for key in ("view", "split") if key in chosen})
    asking: dict[str, Any] = {key: chosen.pop(key) for key in _ASKING if key in chosen}
    if dry_run:
        asking["backend"] = {**asking.get("backend", {}), "dry_run": True}
    config = WritingConfig.parse({"name": writer, "settings": chosen, **asking})
    source = options.read_data(data, columns)
    with display.showing_progress() as progress:
        told = write_into(source, config, view=plan.view, split=plan.split, default_cache=default_cache(), progress=progress)
    entries = told.source["written"][len(source.source.get("written", [])) :]
    if not dry_run:
        told.save(out)
    if as_json:
        display.print_json({"folder": None if dry_run else str(out), "name": told.name, "hash": told.hash, "written": entries})
        return
    _say(entries, out, recipe, dry_run=dry_run)


def _say(entries: list[dict[str, Any]], out: Path, recipe: str, *, dry_run: bool) -> None:
    cost = entries[-1]["cost"]
    if dry_run:
        display.say(f"{language_costs.would_ask(cost)}; nothing was asked, and nothing was written")
        return
    for entry in entries:
        place = entry.get("column") or f"events of type `{entry.get('event_type', 'written')}`"
        display.say(f"{place}: {entry['written']:,} by `{entry['backend']}`")
    display.say(f"wrote `{out}`; {language_costs.spent(cost)}")
    language_costs.note_failures(cost)
    display.say(f"next: recsmith run {recipe} --data {out} --out runs/{recipe}-written")
