from __future__ import annotations

import pytest

from recsmith.errors import ConfigError, UserError
from recsmith.key_safety import checked_address, key_in, keyless, redacted

SECRET = "sk-very-secret-0123456789"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"bad key {SECRET}!", "bad key [key]!"),
        (f"bad key {SECRET[:8]}...6789", "bad key [key]...6789"),
        (f"cut at its end {SECRET[:13]}", "cut at its end [key]"),
        (f"{SECRET[9:]} cut at its beginning", "[key] cut at its beginning"),
        (f"twice {SECRET}{SECRET}", "twice [key][key]"),
        ("seven of it: sk-very", "seven of it: sk-very"),
        ("nothing of it", "nothing of it"),
        ("", ""),
    ],
)
def test_the_key_and_its_parts_are_hidden(text: str, shown: str) -> None:
    assert redacted(text, SECRET) == shown


def test_short_keys_are_hidden_as_a_whole_and_no_key_hides_nothing() -> None:
    assert redacted("EMPTY and EMPT", "EMPTY") == "[key] and EMPT"
    assert redacted("no key", "") == redacted("no key", None) == "no key"


def test_errors_stay_themselves_without_the_key() -> None:
    raised = KeyError(f"no {SECRET}", 3)
    with pytest.raises(KeyError) as found, keyless(SECRET, KeyError):
        raise raised
    assert found.value is raised
    assert raised.args == ("no [key]", 3)
    with pytest.raises(ValueError, match=SECRET), keyless(SECRET, KeyError):
        raise ValueError(SECRET)


def test_the_first_variable_with_a_key_gives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY_ONE", "  ")
    monkeypatch.setenv("KEY_TWO", f"{SECRET}\n")
    assert key_in("KEY_ZERO", "KEY_ONE", "KEY_TWO") == SECRET
    assert key_in("KEY_ZERO") == ""
    monkeypatch.setenv("KEY_ONE", "sk-“quoted”")
    with pytest.raises(UserError, match="`KEY_ONE` holds spaces or signs beyond ASCII; set it as it was issued"):
        key_in("KEY_ONE", "KEY_TWO")


@pytest.mark.parametrize(
    "url",
    ["http://me:word@host/v1", "https://word@host", "https://host/v1?key=word", "https://host/v1#word", "me:word@host/v1",
     "ftp://me:word@host", "http://me:[word@host/v1", "http://me:word@host:port/v1"],
)  # fmt: skip
def test_addresses_with_secrets_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(UserError, match="holds a name, a key or a query") as error:
        checked_address(url)
    assert "word" not in str(error.value)


@pytest.mark.parametrize("url", ["host", "", "http://", "ftp://host/v1", "http://host:port/v1", "http://[host/v1"])
def test_what_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address of an endpoint; example: https://"):
        checked_address(url)


@pytest.mark.parametrize("url", ["http://localhost:8000/v1/", "https://host/@team/v1"])
def test_addresses_lose_their_last_slash(url: str) -> None:
    assert checked_address(url) == url.rstrip("/")
