from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from recsmith.language.parsing import (
    FormatError,
    is_only_numbers,
    parse_choice,
    parse_list,
    parse_number,
    parse_order,
    parse_structured,
)

LISTS = {
    "numbered": ("1. Heat\n2. Alien (1979)\n3. Up", "numbered", ["Heat", "Alien (1979)", "Up"]),
    "brackets": ("[1] Heat\n[2] Alien", "numbered", ["Heat", "Alien"]),
    "parentheses": ("(1) Heat\n2) Alien\n3 - Up", "numbered", ["Heat", "Alien", "Up"]),
    "bold with reasons": ("Sure!\n\n1. **Heat** - a classic of its kind\n2. **Alien**: scary\n\nEnjoy!", "numbered", ["Heat", "Alien"]),
    "quoted with reasons": ('1. "Heat" because it is tense\n2. “Alien” (1979)', "numbered", ["Heat", "Alien"]),
    "subtitle": ("1. Star Wars: Episode IV - A New Hope\n2. Up", "numbered", ["Star Wars: Episode IV - A New Hope", "Up"]),
    "bullets": ("Here:\n- Heat\n* Alien\n• Up", "bullets", ["Heat", "Alien", "Up"]),
    "lines": ("My list:\nHeat\nAlien", "lines", ["Heat", "Alien"]),
    "titles that begin with numbers": ("300: Rise of an Empire\n12 Monkeys", "lines", ["300: Rise of an Empire", "12 Monkeys"]),
    "commas": ("Heat, Alien, Up", "commas", ["Heat", "Alien", "Up"]),
    "json": ('["Heat", "Good, the Bad"]', "json", ["Heat", "Good, the Bad"]),
    "fenced": ('Here you are:\n```json\n["Heat", "Up"]\n```\nEnjoy', "json", ["Heat", "Up"]),
    "objects": ('{"movies": [{"title": "Heat", "year": 1995}, {"title": "Up"}]}', "json", ["Heat", "Up"]),
    "thoughts": ("<think>1. No\n2. Neither</think>\n1. Heat", "numbered", ["Heat"]),
    "open thoughts": ("<think>I wonder about 1. Heat", "none", []),
    "empty": ("", "none", []),
}


@pytest.mark.parametrize(("answer", "form", "entries"), LISTS.values(), ids=LISTS.keys())
def test_lists_in_every_form(answer: str, form: str, entries: list[str]) -> None:
    parsed = parse_list(answer)
    assert (parsed.entries, parsed.form, parsed.cut) == (entries, form, False)


def test_a_list_that_breaks_off_loses_its_last_entry() -> None:
    parsed = parse_list('["Heat", "Al\\"ien", "U')
    assert (parsed.entries, parsed.form, parsed.cut) == (["Heat", 'Al"ien'], "json", True)
    assert parse_list("1. a\n2. b\n3. c", most=2).entries == ["a", "b"]


@settings(max_examples=80, deadline=None)
@given(st.text(alphabet=st.characters(codec="utf-8"), max_size=300))
def test_no_answer_breaks_the_parsers(answer: str) -> None:
    assert all(entry.strip() for entry in parse_list(answer).entries)
    for parse in (lambda: parse_order(answer, 5), lambda: parse_number(answer, low=0, high=1), lambda: parse_choice(answer, "AB")):
        with suppress(FormatError):
            parse()


@settings(max_examples=100, deadline=None)
@given(st.lists(st.text(alphabet="abcdefgh XY", min_size=1).filter(str.strip), min_size=2, max_size=6))
def test_a_json_list_is_read_back(entries: list[str]) -> None:
    import json

    assert parse_list(f"Of course: {json.dumps(entries)}").entries == [entry.strip() for entry in entries]


@pytest.mark.parametrize("answer", ["3, 1, 2", "[3] > [1] > [2]", "[3, 1, 2]", "3\n1\n2", "3 1 2 3 9", "```\n3,1,2\n```"])
def test_orders(answer: str) -> None:
    assert parse_order(answer, 3) == [2, 0, 1]
    assert is_only_numbers(answer)
    assert not is_only_numbers("1. Toy Story 2")


@pytest.mark.parametrize(("answer", "place"), [("A", 0), ("b.", 1), ("**B**", 1), ("(A)", 0), ("A, since B is dull", 0), ("I choose B", 1)])
def test_choices(answer: str, place: int) -> None:
    assert parse_choice(answer, ("A", "B")) == place


@pytest.mark.parametrize(("answer", "reason"), [("both A and B", "several"), ("neither", "none"), ("", "none")])
def test_choices_that_are_none(answer: str, reason: str) -> None:
    with pytest.raises(FormatError, match=f"names {reason} of the choices 'A', 'B'" if answer.startswith("both") else "names none"):
        parse_choice(answer, ("A", "B")) if answer.startswith("both") else parse_choice(answer, ("X", "Y"))


def test_numbers() -> None:
    assert parse_number("Rating: 4,5 of 5", low=1, high=5) == 4.5
    with pytest.raises(FormatError, match="holds no number"):
        parse_number("four", low=1, high=5)


class Person(BaseModel):
    name: str
    age: int


def test_structured_answers() -> None:
    assert parse_structured('Here: {"x": 1} and {"name": "Ann", "age": 3}!', Person) == Person(name="Ann", age=3)
    with pytest.raises(FormatError, match=r"does not fit Person: `age`: input should be a valid integer"):
        parse_structured('{"name": "Ann", "age": "old"}', Person)
    with pytest.raises(FormatError, match=r"does not fit Person: it holds no JSON object"):
        parse_structured("Ann, three", Person)
