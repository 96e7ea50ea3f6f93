"""`recsmith card show`: the model card of a run."""

from __future__ import annotations

import typer

from recsmith.cli import display, options

app = typer.Typer(add_completion=False)


@app.callback()
def card() -> None:
    """The model card of a run.

    Example: recsmith card show runs/tiger-ml
    """


@app.command()
def show(run: options.Run, as_json: options.Json = False) -> None:
    """Print the card: data, protocol, figures beside published ones, seeds, command, commit, hardware, deviations.

    Example: recsmith card show runs/tiger-ml
    """
    from recsmith.artifacts import open_folder, read_json
    from recsmith.card import markdown
    from recsmith.run_folder import RUN

    content = read_json(open_folder(run, RUN) / "card.json")
    if as_json:
        display.print_json(content)
    else:
        display.print_markdown(markdown(content))
