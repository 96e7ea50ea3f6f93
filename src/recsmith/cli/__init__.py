"""The command line. `main` is the entry point; nothing heavy is imported before a command needs it."""

from __future__ import annotations

from collections.abc import Sequence

from recsmith.runtime import prepare_environment

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 on success, 2 on a user's mistake, 130 on Ctrl-C."""
    prepare_environment()
    from recsmith.cli.program import execute

    raise SystemExit(execute(arguments))
