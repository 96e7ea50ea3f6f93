"""`recsmith refit`: a new run from a served one and what its store has gathered since."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from recsmith.cli import display, options

app = typer.Typer(add_completion=False)


@app.command()
def refit(
    run: options.Run,
    out: options.Out,
    store: Annotated[
        str | None,
        typer.Option("--store", metavar="URL", help="The server's store. [default: sqlite:///recsmith.db]", show_default=False),
    ] = None,
    config: Annotated[Path | None, typer.Option("--config", metavar="FILE", help="The server's TOML file of settings.")] = None,
    update: Annotated[bool, typer.Option("--update", help="Go on from the old weights: quicker, and knows no new items.")] = False,
    kinds: Annotated[
        str | None,
        typer.Option("--kinds", metavar="KIND,…", help="Kinds of events to learn from. [default: history_kinds]", show_default=False),
    ] = None,
    settings: options.Settings = None,
    seed: options.Seed = 0,
    gently: Annotated[bool, typer.Option("--gently", help="Leave the processor to others.")] = False,
    as_json: options.Json = False,
) -> None:
    """Fit a run again on its log and on the events, items and deletions in a server's store; the store is only read.

    Example: recsmith refit runs/shop --store sqlite:///recsmith.db --out runs/shop-monday

    Example: recsmith refit runs/shop --config serve.toml --out runs/shop-monday --update
    """
    from recsmith.errors import UserError, import_extra

    import_extra("sqlalchemy", extra="serve", purpose="recsmith refit")
    from recsmith.recommender import load
    from recsmith.serving.config import read_config
    from recsmith.serving.refitting import refit as fit_again
    from recsmith.serving.store import open_existing

    if gently:
        os.nice(10)
    if out.exists() and out.resolve() == run.resolve():
        raise UserError(f"`{out}` is the run that is served; give another folder to --out")
    served = read_config(config, {"store": store})
    base, opened = load(run), open_existing(served.store)
    try:
        with display.showing_progress() as progress:
            made = fit_again(
                base,
                opened,
                how="update" if update else "fit",
                kinds=served.history_kinds if kinds is None else kinds.split(","),
                settings=options.parse_settings(settings),
                seed=seed,
                progress=progress,
                message=progress.message,
            )
        made.save(out)
    finally:
        opened.close()
    feed = made.card["feed"]
    if as_json:
        display.print_json({"run": str(out), "recipe": made.recipe.name, "feed": feed, "items": made.items, "users": len(made.log.users)})
        return
    display.say(f"learned {feed['events']:,} new events up to number {feed['seq']:,}; written to `{out}`")
    display.say(f"next: POST /models/{out.name}/activate   or   recsmith serve {out}")
