from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.errors import ConfigError, UserError
from recsmith.language.compiler import compile_prompt
from recsmith.language.counting import estimate_tokens
from recsmith.language.demonstrations import Demonstrations
from recsmith.language.template import load_template, places, template_names

TITLES = [f"Title number {index}" for index in range(100)]


def rank(history: list[str], candidates: list[str], **options):
    more = {name: options.pop(name) for name in ("request", "recent", "demonstrations") if name in options}
    return compile_prompt(load_template("rank-list"), {"history": history, "candidates": candidates, **more}, **options)


@pytest.mark.parametrize("name", template_names())
def test_every_template_compiles_from_its_fields(name: str) -> None:
    template = load_template(name)
    values = {"text": "words", "number": 3, "items": ["one", "two"], "numbered": ["one", "two"]}
    compiled = compile_prompt(template, {field: values[kind] for field, kind in template.fields.items()})
    assert compiled.left_out == []
    assert [message.role for message in compiled.prompt.messages] == ["system", "user"]
    assert set(places("".join(section.text for section in template.section))) == set(template.fields)
    assert compiled.template == f"{name} v1 ({template.hash})"


def test_a_prompt_word_for_word() -> None:
    prompt = rank(["Heat (1995)", "Alien"], ["Up", "Big"], request="something short").prompt
    assert prompt.messages[0].content.startswith("You order candidates")
    assert prompt.messages[1].content == (
        'What this person took, oldest first:\n- "Heat (1995)"\n- "Alien"\n\n'
        'In their own words: "something short"\n\nCandidates:\n1. "Up"\n2. "Big"\n\nNumbers, best first:'
    )


def test_when_space_runs_out_demonstrations_go_first_then_the_oldest_history() -> None:
    full = rank(TITLES, ["a", "b"], demonstrations=TITLES[:20])
    assert full.kept["history"] == list(range(100))
    some = rank(TITLES, ["a", "b"], demonstrations=TITLES[:20], max_tokens=full.tokens - 60)
    assert len(some.kept["demonstrations"]) < 20
    assert some.kept["demonstrations"][-1] == 19
    assert some.kept["history"] == list(range(100))
    less = rank(TITLES, ["a", "b"], demonstrations=TITLES[:20], max_tokens=400)
    assert less.kept["demonstrations"] == [19]
    assert less.kept["history"][-1] == 99
    assert 0 < len(less.kept["history"]) < 100
    assert less.kept["candidates"] == [0, 1]


@settings(max_examples=30, deadline=None)
@given(st.integers(150, 2000), st.integers(1, 60), st.integers(1, 10))
def test_a_prompt_never_exceeds_its_limit(limit: int, history: int, candidates: int) -> None:
    try:
        compiled = rank(TITLES[:history], TITLES[:candidates], max_tokens=limit)
    except UserError:
        assert rank(["Title number 0"], TITLES[:candidates]).tokens > limit - 10
        return
    assert compiled.tokens <= limit
    assert compiled.kept["candidates"] == list(range(candidates))
    if compiled.tokens + estimate_tokens(TITLES[0]) + 3 < limit:
        assert len(compiled.kept["history"]) == history


def test_older_history_may_be_summed_up() -> None:
    compiled = rank(TITLES, ["a"], max_tokens=400, summarise={"history": lambda lost: f"mostly {lost[0]}"})
    assert f'- before these, {100 - len(compiled.kept["history"])} more: "mostly Title number 0"' in compiled.prompt.text
    assert compiled.tokens <= 400


def test_what_does_not_fit_at_all_is_an_error() -> None:
    with pytest.raises(UserError, match=r"`rank-list` needs .* tokens at its shortest, 50 are allowed; raise the limit, give fewer"):
        rank(TITLES, TITLES, max_tokens=50)


BAD_VALUES = {
    "unknown": ({"histori": []}, r"has no field `histori`; did you mean `history`\?"),
    "missing": ({"history": ["a"]}, r"needs a value for `candidates` \(numbered\); give one"),
    "type": ({"history": "a", "candidates": ["b"]}, r"field `history` is 'a'; allowed: a list of texts"),
    "none": ({"history": ["a", None], "candidates": ["b"]}, r"field `history` is \['a', None\]; allowed: a list of texts"),
    "empty": ({"history": [], "candidates": ["b"]}, r"field `history` is empty"),
}


@pytest.mark.parametrize(("values", "message"), BAD_VALUES.values(), ids=BAD_VALUES.keys())
def test_values_that_do_not_fit_are_named(values: dict, message: str) -> None:
    with pytest.raises(UserError, match=message):
        compile_prompt(load_template("rank-list"), values)


def test_a_users_file_takes_the_place_of_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rank-list.toml").write_text(
        'title = "mine"\nversion = 7\n[fields]\nhistory = "items"\ncandidates = "numbered"\n'
        '[[section]]\nname = "all"\ntext = "Was: {history} Welche: {candidates}"\n'
    )
    mine = load_template("rank-list", folder=tmp_path)
    monkeypatch.setenv("RECSMITH_TEMPLATES", str(tmp_path))
    assert load_template("rank-list") == mine == load_template(str(tmp_path / "rank-list.toml"))
    assert "v7" in compile_prompt(mine, {"history": ["a"], "candidates": ["b"]}).template
    assert load_template("rank-pair").title != "mine"


BAD_FILES = {
    "toml": ("title = ", ConfigError, "is not readable TOML"),
    "field": ('title = "t"\n[[section]]\nname = "s"\ntext = "{x}"\n', ConfigError, "section `s` names `x`, which is no field"),
    "keep": (
        'title = "t"\n[[section]]\nname = "s"\ntext = "x"\nkeep = "last"\n',
        ConfigError,
        "keeps the last of a list but names 0 lists",
    ),
    "key": ('title = "t"\nsectoin = []\n[[section]]\nname = "s"\ntext = "x"\n', ConfigError, "did you mean"),
}


@pytest.mark.parametrize(("text", "error", "message"), BAD_FILES.values(), ids=BAD_FILES.keys())
def test_files_that_cannot_be_used_are_refused(text: str, error: type, message: str, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text)
    with pytest.raises(error, match=message):
        load_template("mine", folder=tmp_path)


def test_unknown_templates_get_a_suggestion(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"unknown prompt template `rank-lst`; did you mean `rank-list`\?"):
        load_template("rank-lst")
    with pytest.raises(UserError, match=r"no prompt template at .*; give a .toml file or a name"):
        load_template(str(tmp_path / "none.toml"))


def by_first_letter(texts: list[str]) -> np.ndarray:
    return np.array([[text[0] == "a", text[0] == "b", len(text) / 100] for text in texts], dtype=np.float32)


def test_demonstrations_are_the_most_similar_with_the_best_last() -> None:
    shown = Demonstrations(["apple", "b", "ant", "bee"], ["1", "2", "3", "4"], by_first_letter)
    chosen = shown.choose(["axx", "b"], 2)
    assert chosen.tolist() == [[0, 2], [3, 1]]
    assert shown.texts(chosen[0].tolist()) == ["apple → 1", "ant → 3"]
    assert shown.choose(["ant", "b"], 1, without=[2, -1]).tolist() == [[0], [1]]
    assert shown.choose(["a"], 0).shape == (1, 0)
    assert shown.choose([], 2).shape == (0, 0)


def test_demonstrations_need_an_answer_each() -> None:
    with pytest.raises(UserError, match="2 examples have 1 answers"):
        Demonstrations(["a", "b"], ["1"], by_first_letter)
