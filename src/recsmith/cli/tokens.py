"""`recsmith tokens`: look at a run's semantic IDs, give codes to new items, follow a catalogue that moves, compare two runs."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsmith.cli import display, options
from recsmith.errors import StorageError

if TYPE_CHECKING:
    import polars as pl

app = typer.Typer(add_completion=False)

CurrentItems = Annotated[
    Path, typer.Option("--items", metavar="FILE", help="Table of the current catalogue, with the columns of the run's item texts.")
]

_SHARES = {
    "prefix_purity": "items of their prefix's commonest category",
    "neighbour_overlap": "nearest neighbours with the same prefix",
    "co_occurrence": "consecutive events with the same prefix",
}


@app.callback()
def tokens() -> None:
    """Semantic IDs: what they are worth, codes for new items, drift and migration, what changed between runs.

    Example: recsmith tokens inspect runs/tiger-ml
    """


@app.command()
def inspect(
    run: options.Run,
    branches: Annotated[int, typer.Option("--branches", min=0, help="First codes of the code tree that are shown.")] = 6,
    picture: Annotated[Path | None, typer.Option("--picture", metavar="FILE", help="Draw the code tree: .svg, .png or .pdf.")] = None,
    as_json: options.Json = False,
) -> None:
    """Collisions, usage and entropy per level; purity, neighbours and co-occurrence against random codes; the code tree with titles.

    Example: recsmith tokens inspect runs/tiger-ml --picture tree.svg
    """
    from recsmith.run_folder import read_run
    from recsmith.tokens import draw_code_tree, inspect_tokens

    state = read_run(run)
    with display.showing_progress() as progress:
        report = {"run": str(run), **inspect_tokens(state, branches=branches, progress=progress)}
    if picture is not None:
        title = f"{run}: {report['codes']['items']:,} items, tokenizer {report['tokenizer']['name']}"
        report["picture"] = str(draw_code_tree(report["tree"], picture, title=title))
    if as_json:
        display.print_json(report)
    else:
        _show_report(report)


@app.command()
def assign(
    run: options.Run,
    items: Annotated[Path, typer.Option("--items", metavar="FILE", help="Table of items with the columns of the run's item texts.")],
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="Codes of the new items: .parquet, .csv or .jsonl.")],
    as_json: options.Json = False,
) -> None:
    """Codes for items that the run does not know, from their texts, without retraining; and what that does to collisions.

    Texts are made and encoded as the run recorded it. Items that the run knows keep their codes and are not written.

    Example: recsmith tokens assign runs/tiger-ml --items new-items.csv --out new-codes.parquet
    """
    from recsmith.cli.batch import check_format
    from recsmith.data.readers.tables import read_catalogue
    from recsmith.run_folder import read_run
    from recsmith.tokens import assign_tokens

    check_format(out)
    state = read_run(run)
    catalogue = read_catalogue(items)
    with display.showing_progress() as progress:
        frame, facts = assign_tokens(state, catalogue, progress=progress)
    _write(frame, out)
    facts = {"run": str(run), "file": str(out), **facts}
    if as_json:
        display.print_json(facts)
    else:
        _show_assignment(facts)


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(metavar="RUN", help="The earlier run.")],
    new: Annotated[Path, typer.Argument(metavar="RUN", help="The later run.")],
    as_json: options.Json = False,
) -> None:
    """Items added and removed, the share of the others whose codes changed, per level, and how much of the grouping is left.

    Example: recsmith tokens diff runs/tiger-march runs/tiger-april
    """
    from recsmith.run_folder import read_run
    from recsmith.tokens import diff_tokens

    changes = {"old": str(old), "new": str(new), **diff_tokens(read_run(old), read_run(new))}
    if as_json:
        display.print_json(changes)
    else:
        _show_changes(changes)


@app.command()
def drift(run: options.Run, items: CurrentItems, as_json: options.Json = False) -> None:
    """How far the current catalogue has moved away from the run's codebooks, and whether that speaks for a migration.

    Example: recsmith tokens drift runs/tiger-ml --items items.csv
    """
    from recsmith.data.readers.tables import read_catalogue
    from recsmith.run_folder import read_run
    from recsmith.tokens import token_drift

    state = read_run(run)
    with display.showing_progress() as progress:
        figures = {"run": str(run), **token_drift(state, read_catalogue(items), progress=progress)}
    if as_json:
        display.print_json(figures)
    else:
        _show_drift(figures)


@app.command()
def migrate(
    run: options.Run,
    items: CurrentItems,
    keep: Annotated[float, typer.Option("--keep", min=0, help="Share by which an item's error may grow so that it keeps its id.")] = 0.1,
    fresh: Annotated[bool, typer.Option("--fresh", help="Learn the codebooks from nothing: fits better, keeps few ids.")] = False,
    out: Annotated[Path | None, typer.Option("--out", metavar="DIR", help="Write the migrated run there instead of over RUN.")] = None,
    as_json: options.Json = False,
) -> None:
    """New codebooks on the current catalogue, in which items keep their ids where they can; the version before is kept.

    New items join the run, gone ones stay for the histories that hold them. The model keeps its weights and should be trained on.

    Example: recsmith tokens migrate runs/tiger-ml --items items.csv
    """
    from recsmith.data.readers.tables import read_catalogue
    from recsmith.run_folder import read_run
    from recsmith.tokens import migrate_tokens, write_version

    state = read_run(run)
    with display.showing_progress() as progress:
        migrated, facts = migrate_tokens(state, read_catalogue(items), keep=keep, start="fresh" if fresh else "old", progress=progress)
    facts = {"run": str(write_version(run, migrated, out=out)), **facts}
    if as_json:
        display.print_json(facts)
    else:
        _show_migration(facts)


@app.command()
def versions(run: options.Run, as_json: options.Json = False) -> None:
    """The versions of a run's codes, and which of them is in use.

    Example: recsmith tokens versions runs/tiger-ml
    """
    from recsmith.tokens import versions as all_versions

    found = all_versions(run)
    if as_json:
        display.print_json({"run": str(run), "versions": found})
    else:
        rows = [[str(one["version"]), one["hash"], one["items"], one["current"]] for one in found]
        display.print_table(["version", "hash of the codes", "hash of the items", "in use"], rows)


@app.command()
def rollback(
    run: options.Run,
    to: Annotated[int | None, typer.Option("--to", min=1, help="Version to use; the one before when left out.")] = None,
    as_json: options.Json = False,
) -> None:
    """Use an earlier version of the codes again, with everything that belonged to it; the present one is kept.

    Example: recsmith tokens rollback runs/tiger-ml
    """
    from recsmith.tokens import rollback as roll_back

    facts = {"run": str(run), **roll_back(run, to=to)}
    if as_json:
        display.print_json(facts)
    else:
        display.say(f"`{run}` uses version {facts['version']} of its codes again")


def _write(frame: pl.DataFrame, out: Path) -> None:
    from polars.exceptions import PolarsError

    from recsmith.cli.batch import FORMATS

    draft = out.with_name(f".{out.name}.draft-{os.getpid()}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        FORMATS[out.suffix](frame.lazy(), draft)
        draft.replace(out)
    except (OSError, PolarsError) as error:
        draft.unlink(missing_ok=True)
        raise StorageError(f"cannot write `{out}`: {error}; free some space or choose another place") from error


# ---- for people ---------------------------------------------------------------------------------------------------------


def _show_report(report: dict[str, Any]) -> None:
    figures = report["codes"]
    settings = ", ".join(f"{name} = {value}" for name, value in report["tokenizer"].items() if name != "name")
    display.say(f"{report['run']}: {figures['items']:,} items, tokenizer {report['tokenizer']['name']} ({settings})")
    display.say(
        f"{figures['collision_rate']:.1%} of the items share their learned codes with another, at most {figures['largest_collision']:,} "
        f"the same; {figures['distinct_prefixes']:,} different learned ids; collision level of {figures['sizes'][-1]} codes"
    )
    rows = [
        [level + 1, size, usage, entropy]
        for level, (size, usage, entropy) in enumerate(zip(figures["sizes"][:-1], figures["usage"], figures["entropy_bits"], strict=True))
    ]
    display.print_table(["level", "codes", "in use", "entropy (bits)"], rows)
    measured = [name for name in _SHARES if report[name] is not None]
    lines = [
        [_SHARES[name], depth + 1, share, report[name]["random"][depth], report[name]["lift"][depth]]
        for name in measured
        for depth, share in enumerate(report[name]["levels"])
    ]
    if lines:
        display.print_table(["share of …", "codes of the prefix", "here", "codes dealt at random", "ratio"], lines)
    if report["ids"]:
        display.print_table(["title", "id"], [[_shortened([one["title"]])[0], one["id"]] for one in report["ids"]])
    for node in report["tree"]:
        _show_node(node, "")
    for text in report["notes"]:
        display.note(text)


def _show_node(node: dict[str, Any], indent: str) -> None:
    prefix = " ".join(map(str, node["prefix"]))
    display.say(f"{indent}[{prefix}]  {node['items']:,} items: {'; '.join(_shortened(node['titles']))}")
    for child in node["children"]:
        _show_node(child, indent + "    ")


def _shortened(titles: Sequence[str], length: int = 48) -> list[str]:
    return [title if len(title) <= length else f"{title[: length - 1].rstrip()}…" for title in titles]


def _show_assignment(facts: dict[str, Any]) -> None:
    display.say(f"wrote codes of {facts['new']:,} new items to `{facts['file']}`; {facts['known']:,} items were known and keep theirs")
    display.say(
        f"{facts['sharing_with_old']:,} share the learned codes of an old item; {facts['left_full_prefix']:,} had to leave a full prefix"
    )
    names = {
        "items": "items",
        "collision_rate": "collision rate",
        "largest_collision": "largest collision",
        "distinct_prefixes": "different learned ids",
        "full_prefixes": "full prefixes",
    }
    rows = [[text, facts["before"][name], facts["after"][name]] for name, text in names.items()]
    display.print_table(["", "before", "after"], rows)
    if facts["without_text"]:
        display.note(f"{facts['without_text']:,} new items have no text; their codes mean nothing")


def _show_changes(changes: dict[str, Any]) -> None:
    items = changes["items"]
    display.say(f"{items['common']:,} items are in both runs, {changes['added']:,} were added, {changes['removed']:,} removed")
    if items["common"]:
        display.say(
            f"{changes['changed']:,} ({changes['changed_share']:.1%}) have other learned codes, "
            f"{changes['changed_collision_code']:,} only another collision code"
        )
    rows = [
        [level + 1, changes["sizes"]["old"][level], changes["sizes"]["new"][level], changed, kept]
        for level, (changed, kept) in enumerate(zip(changes["changed_by_level"], changes["kept_company"], strict=True))
    ]
    display.print_table(["level", "codes, old", "codes, new", "items with another code", "pairs still together"], rows)


def _show_drift(figures: dict[str, Any]) -> None:
    items = figures["items"]
    display.say(
        f"{items['current']:,} items in the catalogue: {items['known']:,} known ({items['changed']:,} with changed texts), "
        f"{items['new']:,} new; {items['gone']:,} of the run's {items['run']:,} are gone"
    )
    if figures["error"] is not None:
        rows = [[name, figures["error"][name], figures["error"].get(f"{name}_ratio")] for name in ("run", "new", "changed")]
        display.print_table(["items", "error of their codes", "ratio"], rows)
    rows = [[level + 1, value] for level, value in enumerate(figures["usage_divergence"])]
    display.print_table(["level", "divergence of usage (bits)"], rows)
    if figures["changed_codes"] is not None:
        display.say(f"{figures['changed_codes']:.1%} of the items with changed texts would get other codes now")
    for reason in figures["reasons"]:
        display.say(f"for a migration: {reason}")
    if not figures["reasons"]:
        display.say("nothing speaks for a migration yet; new items can get codes by: recsmith tokens assign")


def _show_migration(facts: dict[str, Any]) -> None:
    share = "" if facts["kept_share"] is None else f" ({facts['kept_share']:.1%})"
    display.say(f"`{facts['run']}` now uses version {facts['version']} of its codes, learned on {facts['current']:,} items")
    display.say(
        f"{facts['kept']:,} items{share} kept their codes, {facts['moved']:,} have others, {facts['new']:,} are new, {facts['gone']:,} gone"
    )
    display.say(
        f"error of the codes {facts['error']:.4g}, without keeping any {facts['error_if_none_were_kept']:.4g}; "
        f"collision rate {facts['collisions']['before']:.1%} before, {facts['collisions']['after']:.1%} now"
    )
    display.note("the model has not learned the new codes; its test figures left the card. The way back: recsmith tokens rollback RUN")
