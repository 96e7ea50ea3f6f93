"""`recsmith experiment`: results of a server's experiments from its store, without the server."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from recsmith.cli import display, options

app = typer.Typer(add_completion=False)


@app.command()
def experiment(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[NAME]", help="Name of an experiment, or `holdout`; without one all are listed.", show_default=False),
    ] = None,
    store: Annotated[str, typer.Option("--store", metavar="URL", help="The server's store.")] = "sqlite:///recsmith.db",
    metric: Annotated[
        str | None, typer.Option("--metric", metavar="KIND", help="Another kind of event than the experiment's own.", show_default=False)
    ] = None,
    as_json: options.Json = False,
) -> None:
    """Who was shown what, what came of it, and what may be concluded; safe to look at as often as one likes.

    Example: recsmith experiment --store sqlite:///recsmith.db

    Example: recsmith experiment ranker --store sqlite:///recsmith.db --json
    """
    from recsmith.errors import import_extra

    import_extra("sqlalchemy", extra="serve", purpose="recsmith experiment")
    from recsmith.serving.experiment_store import experiments
    from recsmith.serving.results import result
    from recsmith.serving.store import open_existing

    opened = open_existing(store)
    try:
        if name is None:
            kept = [
                {**one.definition.model_dump(mode="json"), "created": one.created, "stopped": one.stopped} for one in experiments(opened)
            ]
            _print(kept, as_json, _show_list)
        else:
            _print(result(opened, name, metric=metric), as_json, _show_result)
    finally:
        opened.close()


def _print(found: Any, as_json: bool, show: Any) -> None:
    if as_json:
        display.print_json(found)
    else:
        show(found)


def _show_list(found: list[dict[str, Any]]) -> None:
    if not found:
        display.say("no experiments so far")
        return
    rows = [[one["name"], one["kind"], ", ".join(arm["name"] for arm in one["arms"]), one["metric"], _state(one)] for one in found]
    display.print_table(["experiment", "kind", "arms", "metric", "state"], rows)


def _state(one: dict[str, Any]) -> str:
    return "runs" if one["stopped"] is None else "stopped"


def _show_result(found: dict[str, Any]) -> None:
    if found["control"] is not None:
        control = found["control"]
        rows = [[control["arm"], control["units"], control["mean"], "", "", "control"]]
        for arm in found["arms"]:
            test = arm["sequential"]
            rows.append([arm["arm"], arm["units"], arm["mean"], _interval(test), test["p_value"], arm["verdict"]])
        display.print_table(["arm", "people", found["metric"], "difference", "p", "verdict"], rows, title=found["experiment"])
    if found["preference"] is not None:
        rows = [[arm, wins] for arm, wins in found["preference"]["wins"].items()]
        display.print_table(["arm", "preferred by"], rows, title=found["experiment"])
    for sentence in found["sentences"]:
        display.say(sentence)


def _interval(test: dict[str, Any]) -> str:
    if test["low"] is None:
        return f"{test['difference']:+.4f}"
    return f"{test['difference']:+.4f} ({test['low']:+.4f} … {test['high']:+.4f})"
