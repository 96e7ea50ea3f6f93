"""Every error that recsmith raises on purpose: its class says who must act, its message what was given, what is allowed and what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from importlib import import_module
from types import ModuleType


class RecsmithError(Exception):
    """Base of all errors that a caller may want to catch; `exit_code` is what the command line returns."""

    exit_code = 2


class UserError(RecsmithError):
    """The call or command asks for something that does not exist or does not fit."""


class ConfigError(UserError):
    """A setting is unknown or has a value that is not allowed."""


class DataError(UserError):
    """The data cannot be used as it is; the message names the file, row and column where it can."""


class ArtifactError(UserError):
    """A run or data set folder is missing, incomplete, changed or from another version."""


class MissingExtraError(UserError):
    """A feature needs an optional dependency that is not installed."""


class StorageError(RecsmithError):
    """Writing failed (a full disk, no permission); what was there before is intact."""


class BackendError(RecsmithError):
    """A language model's endpoint or folder did not answer as it should; what was answered before is kept."""


class BudgetError(UserError):
    """The tokens or the money allowed are spent; what was answered before is kept."""


class TrainingInterruptedError(RecsmithError):
    """Ctrl-C during training; the message says what was kept and how to go on."""

    exit_code = 130


def suggestion(given: str, allowed: Iterable[str]) -> str:
    """`"did you mean `x`?"`, or the allowed values when nothing is close; ready to end a message."""
    names = [str(name) for name in allowed]
    close = difflib.get_close_matches(given, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean `{close[0]}`?"
    return "allowed: " + ", ".join(f"`{name}`" for name in names)


def import_extra(module: str, *, extra: str, purpose: str) -> ModuleType:
    """Import an optional dependency, or say in one line which extra brings it."""
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        if error.name is not None and not module.startswith(error.name.split(".")[0]):
            raise
        raise MissingExtraError(f"{purpose} needs `{module}`, which is not installed; run: pip install 'recsmith[{extra}]'") from None
