"""`recsmith audit`: does a run serve some people, or some makers, worse than others?"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli import asking, display, options

if TYPE_CHECKING:
    from recsmith.audit import Audit
    from recsmith.evaluation.fairness import CounterfactualAudit, ItemGroupExposure

app = typer.Typer(add_completion=False)


@app.command()
def audit(
    run: Annotated[Path | None, typer.Argument(metavar="[RUN]", help="Folder that `recsmith run` or `recsmith fit` wrote.")] = None,
    attribute: Annotated[
        str | None, typer.Option("--attribute", metavar="NAME", help="Column of the users' table, or `activity` or `taste`.")
    ] = None,
    data: Annotated[
        str | None, typer.Option("--data", metavar="PATH", help="Data that describe the users; default: what the run's command names.")
    ] = None,
    columns: options.Columns = None,
    metric: Annotated[
        list[str] | None, typer.Option("--metric", metavar="NAME", help="Metric with a value per user; repeats; default: the usual ones.")
    ] = None,
    items: Annotated[
        str | None, typer.Option("--items", metavar="COLUMN", help="Also exposure by a column of the catalogue, such as provider.")
    ] = None,
    answers: Annotated[
        Path | None,
        typer.Option("--answers", metavar="FILE", help="Recorded answers to questions in words: question, value, item_id, rank."),
    ] = None,
    values: Annotated[
        str | None,
        typer.Option("--values", metavar="A,B,…", help="For a run that reads words: what people say they are."),
    ] = None,
    say: Annotated[str, typer.Option("--say", metavar="TEXT", help="How they say it.")] = "I am {value}.",
    people: Annotated[int, typer.Option("--people", min=1, help="How many people are asked, drawn by lot.")] = 20,
    split: asking.Split = "test",
    seed: options.Seed = 0,
    as_json: options.Json = False,
) -> None:
    """Figures by groups of people with intervals, tests and the gap that could be seen; exposure of groups of items.

    Example: recsmith audit runs/tiger-world --attribute gender --items provider

    A run that reads words, told nothing and told each value: recsmith audit runs/ranker --attribute gender --values "a woman,a man"

    Answers of any other system to such questions: recsmith audit --attribute gender --answers answers.csv
    """
    from recsmith.errors import UserError

    if attribute is None:
        raise UserError("an audit needs --attribute; give a column of the users' table, or `activity` or `taste`")
    if run is None and answers is None:
        raise UserError("there is nothing to audit; give a RUN, or --answers FILE with recorded answers")
    document: dict[str, Any] = {"attribute": attribute}
    if run is not None:
        found, facts = _of_run(run, attribute, data, columns, metric or [], items, split, seed)
        document |= {**facts, **found.as_dict()}
        if not as_json:
            _show(found, facts)
        document["counterfactual"] = _told(run, attribute, values, say, people, split, seed, as_json)
    if answers is not None:
        from recsmith.audit import audit_answers, read_answers

        recorded = audit_answers(read_answers(answers), seed=seed)
        document["counterfactual"] = {"answers": str(answers), **recorded.as_dict()}
        if not as_json:
            _show_answers(recorded, attribute)
    if as_json:
        display.print_json(document)


def _told(
    run: Path, attribute: str, values: str | None, say: str, people: int, split: Any, seed: int, as_json: bool
) -> dict[str, Any] | None:
    """The run asked in words, where it reads any; None, with a note, where it was not."""
    from recsmith.artifacts import open_folder, read_json
    from recsmith.audit import audit_words
    from recsmith.background import Background
    from recsmith.models import MODELS
    from recsmith.recommender import load
    from recsmith.run_folder import RUN

    name = read_json(open_folder(run, RUN) / "config.json")["model"]["name"]
    if values is None:
        if not hasattr(MODELS.get(name), "score_told"):
            display.note("the model reads what people did, not who they are: no question can differ in the attribute alone")
        else:
            display.note(f"no question in words was asked; give --values, for example two ways to name a {attribute}")
        return None
    named = [value.strip() for value in values.split(",") if value.strip()]
    found = audit_words(load(run), Background.of_run(run, part=split), named, template=say, people=people, seed=seed)
    if not as_json:
        _show_answers(found, attribute)
    return {"values": named, "say": say, **found.as_dict()}


def _of_run(
    run: Path, attribute: str, data: str | None, columns: str | None, metrics: list[str], items: str | None, split: Any, seed: int
) -> tuple[Audit, dict[str, Any]]:
    from recsmith.audit import OF_THE_LOG, audit_run
    from recsmith.background import Background
    from recsmith.measurement import Question, measure

    users = None if attribute in OF_THE_LOG else asking.users_of(run, data, columns)
    background = Background.of_run(run, part=split, users=users)
    with display.showing_progress() as progress:
        measured = measure(run, Question(split=split), progress=progress)
    found = audit_run(measured, background, attribute, metrics=metrics, item_column=items, seed=seed)
    facts = {
        "run": str(run),
        "recipe": measured.card.get("recipe"),
        "data": measured.card.get("data", {}),
        "protocol": measured.evaluation.protocol,
        "split": split,
        "cases": measured.evaluation.cases,
    }
    return found, facts


def _show(found: Audit, facts: dict[str, Any]) -> None:
    display.say(f"{facts['run']}: {facts['recipe']} on {facts['data'].get('name')}, {facts['split']}, {facts['cases']:,} cases")
    for metric, utility in found.users.items():
        rows = [[row.group, row.members, row.mean, display.interval(row.interval)] for row in utility.rows]
        display.print_table([found.attribute, "people", metric, "95% interval"], rows)
        display.say(f"{metric}: {utility.sentence()}; p (Holm) = {found.adjusted_p[metric]:.3g}")
        display.say()
    unknown = next(iter(found.users.values())).unknown
    if unknown:
        display.say(f"{unknown:,} people of unknown {found.attribute} are left out")
    if found.consistency is not None:
        display.say(f"people of the same tastes fare alike: consistency {found.consistency:.4f} (1: exactly alike)")
    if found.items is not None:
        _show_items(found.items)
    for note in found.notes:
        display.note(note)


def _show_items(items: ItemGroupExposure) -> None:
    headings = ["items of", "items", "of the catalogue", "of training", "of exposure", "parity", "found when wanted"]
    rows = [
        [row.group, row.items, row.catalogue_share, row.training_share, row.exposure_share, row.parity, row.true_positive_rate]
        for row in items.rows
    ]
    display.print_table(headings, rows)
    opportunity = "unknown" if items.equal_opportunity is None else f"{items.equal_opportunity:.4f}"
    display.say(
        f"statistical parity {items.statistical_parity:.4f}, equal opportunity {opportunity} (0: equal); shown least: {items.worst}"
    )


def _show_answers(found: CounterfactualAudit, attribute: str) -> None:
    rows = [
        [row.value, *(row.similarity[name] for name in found.snsr), display.interval(row.intervals["Jaccard"]), row.invalid]
        for row in found.rows
    ]
    display.print_table([attribute, *found.snsr, "95% interval of Jaccard", "no answer"], rows)
    for name in found.snsr:
        display.say(f"{name}: range (SNSR) {found.snsr[name]:.4f}, spread (SNSV) {found.snsv[name]:.4f}")
    display.say(f"{found.questions:,} questions, first {found.k}; likest to no {attribute} at all: 1; least like it: {found.disadvantaged}")
