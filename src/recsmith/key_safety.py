"""What keeps API keys out of sight: keys from the environment, addresses that hold no secret, errors in whose texts no key stands."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import SplitResult, urlsplit

from recsmith.errors import ConfigError, UserError

_FRAGMENT = 8
"""Characters of a key that may not stand together."""
_SHORT = 12
"""Keys below this length are hidden as a whole only: their parts are no secret, and too likely to stand somewhere by chance."""


def key_in(*variables: str) -> str:
    """The key in the first of these environment variables that holds one, "" for none; spaces around it are taken off.

    Raises `UserError`, which does not repeat it, where it holds signs that cannot be sent.
    """
    for variable in variables:
        key = os.environ.get(variable, "").strip()
        if not all("!" <= character <= "~" for character in key):
            raise UserError(f"the key in the environment variable `{variable}` holds spaces or signs beyond ASCII; set it as it was issued")
        if key:
            return key
    return ""


def checked_address(url: str) -> str:
    """The address of an endpoint without a slash at its end.

    Raises `UserError`, which does not repeat the address, when it holds a name, a key or a query, and `ConfigError` when it is no http
    or https address.
    """
    parts = _split(url)
    if (parts is None and "@" in url) or (parts is not None and ("@" in parts.netloc or parts.query or parts.fragment)):
        raise UserError("the endpoint's `url` holds a name, a key or a query; leave them out and put the key into an environment variable")
    if parts is None:
        raise ConfigError(f"setting `url` = {url!r} is no address of an endpoint; example: https://api.example.com/v1")
    return url.rstrip("/")


def redacted(text: str, key: str | None) -> str:
    """The text without the key and without any eight characters in a row of it: servers, and cuts of ours, like to shorten it."""
    if not key:
        return text
    if len(key) < _SHORT:
        return text.replace(key, "[key]")
    shown: list[str] = []
    place = 0
    while place < len(text):
        end = _end_of_fragment(text, place, key)
        shown.append(text[place] if end is None else "[key]")
        place = end or place + 1
    return "".join(shown)


@contextmanager
def keyless(key: str | None, *kinds: type[Exception]) -> Iterator[None]:
    """Errors of these kinds leave the block without the key in their texts; they stay the same objects."""
    try:
        yield
    except kinds as error:
        error.args = tuple(redacted(part, key) if isinstance(part, str) else part for part in error.args)
        raise


def _split(url: str) -> SplitResult | None:
    """The parts of an http or https address with a host and, if at all, a number as port; None for anything else."""
    try:
        parts = urlsplit(url)
        usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return None
    return parts if usable else None


def _end_of_fragment(text: str, place: int, key: str) -> int | None:
    """Where the part of the key that begins at `place` ends; None where none does."""
    end = place + _FRAGMENT
    if end > len(text) or text[place:end] not in key:
        return None
    while end < len(text) and text[place : end + 1] in key:
        end += 1
    return end
