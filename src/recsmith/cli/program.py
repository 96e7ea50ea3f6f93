"""The program: a table of commands imported when they are called, and one place that turns errors into a line and an exit code."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from recsmith.errors import RecsmithError

COMMANDS = {
    "data": "recsmith.cli.data",
    "augment": "recsmith.cli.augment",
    "write": "recsmith.cli.write",
    "run": "recsmith.cli.run",
    "fit": "recsmith.cli.fit",
    "tune": "recsmith.cli.tune",
    "transfer": "recsmith.cli.transfer",
    "evaluate": "recsmith.cli.evaluate",
    "compare": "recsmith.cli.compare",
    "report": "recsmith.cli.report",
    "audit": "recsmith.cli.audit",
    "recommend": "recsmith.cli.recommend",
    "explain": "recsmith.cli.explain",
    "serve": "recsmith.cli.serve",
    "experiment": "recsmith.cli.experiment",
    "refit": "recsmith.cli.refit",
    "tokens": "recsmith.cli.tokens",
    "card": "recsmith.cli.card",
    "systems": "recsmith.cli.systems",
    "doctor": "recsmith.cli.doctor",
}
"""Command → module with its Typer `app`, in the order of the help."""

INTERRUPTED = 130
"""Exit code of Ctrl-C."""

# Typer carries its own copy of click, so this is the name under which the base of all usage errors can be had in every version.
_UsageProblem: Any = typer.BadParameter.__mro__[2]


class LazyGroup(TyperGroup):
    """A group that imports a command's module when the command is asked for."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Names in the order of the table."""
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """The command, or None when there is none of that name."""
        if cmd_name not in COMMANDS:
            names: Any = dict.fromkeys(COMMANDS)
            self.commands = names  # "did you mean" chooses from these
            return None
        command = typer.main.get_command(import_module(COMMANDS[cmd_name]).app)
        command.name = cmd_name
        return command

    def invoke(self, ctx: Any) -> Any:
        """Run the command; a reader that went away (`head`, a pager) ends it without a word."""
        try:
            return super().invoke(ctx)
        except BrokenPipeError:
            raise typer.Exit(0) from None


app = typer.Typer(cls=LazyGroup, add_completion=False, rich_markup_mode="rich", context_settings={"help_option_names": ["-h", "--help"]})


@app.callback(invoke_without_command=True)
def recsmith(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an error; works after the command too.")] = False,
) -> None:
    """Generative recommendation, end to end: a log in, generated recommendations out, measured honestly.

    First steps:  recsmith run sasrec --data world --out runs/first   and   recsmith recommend runs/first --user 1
    """
    if version:
        from recsmith import __version__

        typer.echo(f"recsmith {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help(), nl=False)


def execute(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit code and prints at most one line per mistake."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    debug = "--debug" in words
    words = [word for word in words if word != "--debug"]
    command = typer.main.get_command(app)
    return guarded(lambda: command.main(words, prog_name="recsmith", standalone_mode=False), debug=debug)


def guarded(work: Callable[[], Any], *, debug: bool = False) -> int:
    """Do `work`; its errors become one line on standard error and an exit code. Bugs are not caught."""
    try:
        code = work()
        sys.stdout.flush()
    except BrokenPipeError:
        return _pipe_closed()
    except (RecsmithError, OSError, _UsageProblem, typer.Abort, KeyboardInterrupt) as error:
        if debug:
            raise
        return _report(error)
    if code == INTERRUPTED:
        print("interrupted", file=sys.stderr)
    return code if isinstance(code, int) else 0


def _report(error: BaseException) -> int:
    if isinstance(error, RecsmithError):
        print(f"error: {one_line(str(error))}", file=sys.stderr)
        return error.exit_code
    if isinstance(error, typer.Abort | KeyboardInterrupt):
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    if isinstance(error, OSError):
        place = f" `{error.filename}`" if error.filename else ""
        print(f"error: the system refused{place}: {error.strerror or error}; choose another place or free some space", file=sys.stderr)
        return 2
    return _report_usage(error)


def _report_usage(error: Any) -> int:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "recsmith"
    message = one_line(error.format_message()).rstrip(".")
    print(f"error: {message[:1].lower()}{message[1:]} (see: {command} --help)", file=sys.stderr)
    return 2


def one_line(message: str) -> str:
    """A message with its line breaks and runs of blanks replaced by single blanks."""
    return " ".join(message.split())


def _pipe_closed() -> int:
    """The reader (`head`, a pager) went away: nothing to say, and nothing must be said when Python flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
