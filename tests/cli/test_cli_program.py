"""Help, exit codes, errors as one line, and what is loaded when."""

from __future__ import annotations

import errno
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recsmith.cli import program
from recsmith.cli.program import COMMANDS
from recsmith.errors import DataError

LATER = ("chat", "demo")
BRANCHES = [["data", "inspect"], ["data", "prepare"], ["card", "show"], ["card", "check"], ["card", "pool"]]
LEAVES = [[name] for name in COMMANDS if name not in ("data", "card")] + BRANCHES


def test_help_is_fast_and_loads_nothing_heavy() -> None:
    code = (
        "import sys\n"
        "from recsmith.cli import main\n"
        "try:\n    main(['--help'])\n"
        "except SystemExit as end:\n    assert end.code == 0\n"
        "heavy = {'torch', 'polars', 'pydantic', 'numpy', 'scipy', 'optuna', 'transformers'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    started = time.perf_counter()
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    print(f"recsmith --help: {time.perf_counter() - started:.2f} s")
    assert done.returncode == 0, done.stderr
    assert all(name in done.stdout for name in COMMANDS)


def test_commands_of_later_issues_are_absent(cli) -> None:
    words = cli("--help").out.split()
    assert not set(LATER) & set(words)


def test_without_words_it_shows_help(cli) -> None:
    assert "recommend" in cli().out


@pytest.mark.parametrize("words", [*LEAVES, ["data"], ["card"], []], ids=" ".join)
def test_every_command_has_help_with_an_example(cli, words: list[str]) -> None:
    answer = cli(*words, "--help")
    assert answer.code == 0
    assert f"recsmith {' '.join(words)}".strip() in " ".join(answer.out.split())
    assert "Example:" in answer.out or not words


def test_version(cli) -> None:
    assert cli("--version").out.startswith("recsmith 0.")


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["fti"], r"no such command 'fti'.*fit.*recsmith --help"),
        (["fit"], r"missing argument 'RECIPE'.*recsmith fit --help"),
        (["fit", "sasrec"], r"missing option '--data'"),
        (["fit", "sasrec", "--dta", "x"], r"no such option: --dta"),
        (["recommend", "x", "-k", "many"], r"'-k'"),
        (["data"], r"missing command"),
    ],
)
def test_usage_errors_are_one_line(cli, words: list[str], expected: str) -> None:
    assert re.search(expected, cli(*words).error)


def failing(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def diagnose() -> None:
        raise error

    monkeypatch.setattr("recsmith.cli.diagnosis.diagnose", diagnose)


def test_a_message_of_several_lines_becomes_one(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, DataError("first\n  second"))
    assert cli("doctor").error == "error: first second"


def test_debug_shows_the_traceback(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, DataError("odd"))
    with pytest.raises(DataError, match="odd"):
        cli("doctor", "--debug")


def test_the_system_refuses(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, OSError(errno.EACCES, "Permission denied", "/some/place"))
    assert "`/some/place`: Permission denied" in cli("doctor").error


def test_ctrl_c_anywhere_is_130(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, KeyboardInterrupt())
    answer = cli("doctor")
    assert (answer.code, answer.err.strip()) == (130, "interrupted")


def test_a_bug_is_not_hidden(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    failing(monkeypatch, ZeroDivisionError("a bug"))
    with pytest.raises(ZeroDivisionError):
        cli("doctor")


def test_a_closed_pipe_is_silent(tmp_path: Path) -> None:
    script = tmp_path / "many_lines.py"
    script.write_text(
        "from pathlib import Path\n"
        "from recsmith import systems\n"
        "systems._our_recipes = lambda: Path('nowhere')\n"
        "from recsmith.cli import main\n"
        "main(['systems', '--json'])\n"
    )
    pipe = f"{sys.executable} {script} | head -1"
    done = subprocess.run(["bash", "-o", "pipefail", "-c", pipe], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, "[", "")


def test_main_exits(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from recsmith.cli import main

    monkeypatch.setattr(sys, "argv", ["recsmith", "card", "show", str(Path("/nowhere"))])
    with pytest.raises(SystemExit, match="2"):
        main()
    assert capsys.readouterr().err.startswith("error: ")


def test_table_of_commands_is_complete() -> None:
    folder = Path(program.__file__).parent
    assert all((folder / f"{module.rpartition('.')[2]}.py").exists() for module in COMMANDS.values())
