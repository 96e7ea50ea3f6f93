"""`recsmith serve`: a run behind an HTTP API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsmith.cli import display, options

if TYPE_CHECKING:
    from recsmith.serving.config import ServerConfig

app = typer.Typer(add_completion=False)


@app.command()
def serve(
    run: options.Run,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on. [default: 127.0.0.1]", show_default=False)] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port; 0 takes any free one. [default: 8000]", show_default=False)] = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store", metavar="URL", help="sqlite:///FILE or postgresql://… [default: sqlite:///recsmith.db]", show_default=False
        ),
    ] = None,
    config: Annotated[
        Path | None, typer.Option("--config", metavar="FILE", help="TOML file with settings; see the guide, or --check for those in force.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", help="Processes on the one address; needs PostgreSQL. [default: 1]", show_default=False)
    ] = None,
    rules: Annotated[Path | None, typer.Option("--rules", metavar="FILE", help="TOML file with the business's rules.")] = None,
    open_access: Annotated[bool, typer.Option("--open", help="No API keys; on loopback addresses only.")] = False,
    accelerate: Annotated[
        bool, typer.Option("--accelerate", help="Pack the weights where a trial finds that faster; lists may differ in 1 % of their items.")
    ] = False,
    check: Annotated[bool, typer.Option("--check", help="Open everything, say what would be served, and stop.")] = False,
    as_json: options.Json = False,
) -> None:
    """Serve a run: lists, live events, items, people, models; durable in SQLite or PostgreSQL, described at /openapi.json.

    The first start makes an administrator's API key and prints it once.

    Example: recsmith serve runs/tiger-ml --port 8000

    Example: recsmith serve runs/tiger-ml --config serve.toml --check
    """
    import gc

    from recsmith.errors import import_extra
    from recsmith.serving.config import read_config

    gc.disable()  # nothing that starting makes is garbage; `process.serve` turns it on again
    for module in ("uvicorn", "sqlalchemy", "orjson", "prometheus_client"):
        import_extra(module, extra="serve", purpose="recsmith serve")
    given = {"host": host, "port": port, "store": store, "workers": workers, "access": "open" if open_access else None}
    given["accelerate"] = accelerate or None
    settings = read_config(config, given)
    if settings.workers > 1 and not check:
        _serve_by_workers(settings, run, rules)
        return
    from recsmith.serving import process

    prepared = process.prepare(settings, run, rules=rules, make_key=not check)
    _show_key(prepared.first_key)
    if settings.accelerate:
        display.note(f"answers with weights {prepared.generation.growth.acceleration.figures}")
    if check:
        facts = {**process.check(prepared), "settings": settings.model_dump(mode="json")}
        prepared.store.close()
        if as_json:
            display.print_json(facts)
        else:
            _show(facts)
        return
    process.serve(prepared)


def _serve_by_workers(settings: ServerConfig, run: Path, rules: Path | None) -> None:
    from recsmith.serving.workers import Workers, prepare_store

    _show_key(prepare_store(settings))
    Workers(settings, run, rules=rules).run()


def _show_key(key: str | None) -> None:
    if key is not None:
        display.note(f"the store had no API keys; the administrator's, shown this once: {key}")


def _show(facts: dict[str, object]) -> None:
    settings = facts.pop("settings")
    assert isinstance(settings, dict)
    for name, value in facts.items():
        display.say(f"{name}: {value}")
    display.say("settings:")
    for name, value in settings.items():
        display.say(f"  {name} = {value}")
