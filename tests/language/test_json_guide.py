"""Local answers that are JSON of a given form: which tokens may come next, and what a model of random weights makes of it."""

from __future__ import annotations

import json
import random
import re
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytest.importorskip("transformers")

from tiny_language_model import write_tiny_model

from recsmith.data import Dataset, SplitConfig
from recsmith.errors import BackendError, UserError
from recsmith.language import Prompt, Sampling, ask
from recsmith.language.asker import Asker
from recsmith.language.completion import Completion
from recsmith.language.json_form import form_of
from recsmith.language.json_guide import Guide, token_texts
from recsmith.language.local import LocalBackend, LocalConfig
from recsmith.language.writers.llmrec import LlmRecGraph, LlmRecGraphConfig

FILM: dict[str, Any] = {
    "type": "object",
    "title": "Film",
    "properties": {
        "title": {"type": "string"},
        "year": {"type": "integer"},
        "score": {"type": "number"},
        "kinds": {"type": "array", "items": {"type": "string"}},
        "seen": {"type": "boolean"},
        "side": {"enum": [1, 10, 100, "both"]},
    },
    "required": ["title"],
    "additionalProperties": False,
}


def of(**properties: dict[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties}


def fits(value: dict[str, Any]) -> bool:
    """Whether a value is a film, said without the code under test."""
    return (
        list(value) == ["title", "year", "score", "kinds", "seen", "side"]
        and (type(value["title"]), type(value["year"]), type(value["seen"])) == (str, int, bool)
        and type(value["score"]) in (int, float)
        and all(type(kind) is str for kind in value["kinds"])
        and value["side"] in (1, 10, 100, "both")
    )


# ---- the form, character by character ----

FILM_TEXTS = {
    '{"title": "Alien \\"3\\"", "year": 1992, "score": -6.5, "kinds": ["sf", "ö"], "seen": true, "side": 10}': True,
    '{"title": "", "year": 0, "score": 0, "kinds": [], "seen": false, "side": "both"}': True,
    '{"title": "A", "year": 1992, "score": 6.5, "kinds": [], "seen": true, "side": 2}': False,
    '{"title": "A", "year": 01, "score": 6.5, "kinds": [], "seen": true, "side": 1}': False,
    '{"title": "A", "year": 1.5, "score": 6.5, "kinds": [], "seen": true, "side": 1}': False,
    '{"title": "A", "year": 1, "score": 6., "kinds": [], "seen": true, "side": 1}': False,
    '{"title": "A", "year": 1, "score": 6, "kinds": ["a",], "seen": true, "side": 1}': False,
    '{"title": "A\n", "year": 1, "score": 6, "kinds": ["a"], "seen": true, "side": 1}': False,
    '{"title": "\\x", "year": 1, "score": 6, "kinds": ["a"], "seen": true, "side": 1}': False,
    '{"year": 1992}': False,
    '{"title": "A", "year": 1, "score": 6, "kinds": ["a"], "seen": true, "side": 1}}': False,
}


@pytest.mark.parametrize(("text", "right"), FILM_TEXTS.items())
def test_a_form_lets_through_what_fits_it_and_nothing_else(text: str, right: bool) -> None:
    end = form_of(FILM).after(text)
    assert (end is not None and not end.edges) == right


def test_forms_may_hold_others() -> None:
    schema = of(people=dict(of(name={"type": "string"}, ages={"type": "array", "items": {"type": "integer"}})), n={"type": "integer"})
    end = form_of(schema).after('{"people": {"name": "A", "ages": [3, 40]}, "n": 1}')
    assert end is not None
    assert not end.edges
    assert form_of(of()).after("{}") is not None


MISTAKES = {
    "held to `minimum` of a JSON schema; leave it out": of(year={"type": "integer", "minimum": 3}),
    r"held to `\$ref` of a JSON schema": of(film={"$ref": "#/$defs/Film"}),
    "held to the JSON type 'null'; allowed: object, array, string": of(a={"type": "null"}),
    r"held to the JSON type \['string', 'null'\]": of(a={"type": ["string", "null"]}),
    "held to the JSON type None": of(a={"type": "array"}),
    "held to the JSON type 'string' alone; make it a property of an object": {"type": "string"},
}


@pytest.mark.parametrize(("message", "schema"), MISTAKES.items())
def test_what_a_form_cannot_hold_is_refused(message: str, schema: dict[str, Any]) -> None:
    with pytest.raises(UserError, match=message):
        form_of(schema)


# ---- the form, token by token ----

WORDS = [
    *('{"', '"}', '": ', '", "', '": "', ', "', "[", "]", "}", '"', "-", ".", "true", "false", "title", "year", "score", "kinds", "seen"),
    *("side", "both", "bo", "th", "1", "0", "19", "992", "\\", "n", "é", "\ufffd", "\n", "Alien", ' "', " ", ":", ",", ', "ye', "ar"),
]
END = len(WORDS)


def drawn(guide: Guide, longest: int, seed: int) -> str:
    draw, tokens, allowed = random.Random(seed), [], guide.follow(longest, END)
    while END not in tokens:
        tokens.append(draw.choice(allowed(tokens)))
    assert len(tokens) <= longest
    assert allowed(tokens) == [END]
    return "".join(WORDS[token] for token in tokens[:-1])


@pytest.mark.parametrize("longest", [0, 1, 7, 100])
def test_any_walk_along_the_allowed_tokens_is_an_answer_within_its_length(longest: int) -> None:
    guide = Guide(form_of(FILM), dict(enumerate(WORDS)))
    texts = {drawn(guide, int(guide.least) + longest, seed) for seed in range(40)}
    assert all(fits(json.loads(text)) for text in texts)
    assert len(texts) > 3


def test_the_shortest_answer_is_known() -> None:
    guide = Guide(form_of(of(n={"enum": [1, 10]})), {0: '{"n', 1: '": ', 2: "1", 3: "0", 4: "}", 5: "0}", 6: "10}"})
    assert guide.least == 4
    assert sorted(guide.follow(9, 7)([0, 1])) == [2, 6]
    assert sorted(guide.follow(9, 7)([0, 1, 2])) == [3, 4, 5]
    assert sorted(guide.follow(5, 7)([0, 1, 2])) == [4, 5]


def test_ways_that_lead_nowhere_are_not_taken() -> None:
    texts = {0: '{"n": ', 1: "1", 2: "10}", 3: "true"}
    guide = Guide(form_of(of(n={"enum": [1, 10]})), texts)
    assert guide.follow(9, 4)([0]) == [2]
    assert Guide(form_of(of(n={"type": "boolean"})), texts).least == float("inf")


def test_texts_of_tokens_keep_spaces_and_leave_out_what_is_none(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    names = ["<unk>", "<eos>", "▁", "a", "▁a", "▁{", "{", '"', "<0x22>", "<0xE2>", "ü"]
    vocabulary = {name: number for number, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[("▁", "a"), ("▁", "{")], unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace()])
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="<eos>")
    assert token_texts(fast) == {2: " ", 3: "a", 4: " a", 5: " {", 6: "{", 7: '"', 9: "\ufffd", 10: "ü"}


# ---- a model of random weights ----


@pytest.fixture(scope="module")
def backend(tmp_path_factory: pytest.TempPathFactory) -> LocalBackend:
    folder = write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")
    return LocalBackend(LocalConfig(folder=str(folder), precision="fp32", batch_size=8))


def questions(schema: dict[str, Any] | None, sampling: Sampling, count: int = 3) -> list[Prompt]:
    return [Prompt(Prompt.of("q" * (1 + 3 * number)).messages, sampling, schema=schema, draw=number) for number in range(count)]


@pytest.mark.parametrize("sampling", [Sampling(max_tokens=110), Sampling(max_tokens=180, temperature=2.0)])
def test_a_local_models_answers_have_the_form(backend: LocalBackend, sampling: Sampling) -> None:
    answers = ask(questions(FILM, sampling), backend)
    assert all(fits(json.loads(text)) for text in answers.texts)
    assert {completion.finish for completion in answers.completions if completion is not None} == {"stop"}


def test_each_prompt_of_a_batch_has_its_own_form(backend: LocalBackend) -> None:
    sampling = Sampling(max_tokens=40)
    named, free = of(name={"type": "string"}), questions(None, sampling, 1)
    mixed = [*questions(named, sampling, 2), *questions(of(n={"enum": [3, 4]}), sampling, 2), *free]
    answers = ask(mixed, backend).texts
    assert [list(json.loads(text)) for text in answers[:4]] == [["name"], ["name"], ["n"], ["n"]]
    assert {json.loads(text)["n"] for text in answers[2:4]} <= {3, 4}
    assert answers[4] == ask(free, backend).texts[0]


def test_an_answer_without_room_for_its_form_fails_alone(backend: LocalBackend) -> None:
    sampling = Sampling(max_tokens=20)
    kept = ask([*questions(FILM, sampling, 1), *questions(of(n={"type": "integer"}), sampling, 1)], backend, on_failure="keep")
    assert list(kept.failures) == [0]
    shortest = '{"title": "", "year": 0, "score": 0, "kinds": [], "seen": true, "side": 1}'
    needed = len(shortest) + 1  # a token a letter, and the end
    assert f"needs {needed} tokens for an answer of the schema, `sampling.max_tokens` allows 20; raise it" in kept.failures[0]
    assert list(json.loads(kept.texts[1])) == ["n"]


def test_a_form_that_cannot_be_enforced_is_refused(backend: LocalBackend) -> None:
    with pytest.raises(UserError, match="held to `pattern` of a JSON schema"):
        ask(questions(of(a={"type": "string", "pattern": "a+"}), Sampling(max_tokens=40)), backend)
    with pytest.raises(BackendError, match="needs"):
        ask(questions(FILM, Sampling(max_tokens=5), 1), backend)


class Recorder(LocalBackend):
    """Keeps what it was asked and what it answered."""

    def __init__(self, config: LocalConfig) -> None:
        super().__init__(config)
        self.answers: list[tuple[Prompt, str]] = []

    async def complete(self, prompt: Prompt) -> Completion:
        answer = await super().complete(prompt)
        self.answers.append((prompt, answer.text))
        return answer


def test_choices_of_llmrec_can_be_read_whatever_the_model(backend: LocalBackend) -> None:
    rows = [(user, user % 2 + 2 * ((user // 2 + step) % 8), step) for user in range(8) for step in range(6)]
    log = pl.DataFrame(rows, schema=["user_id", "item_id", "timestamp"], orient="row")
    catalogue = pl.DataFrame({"item_id": list(range(16)), "title": [f"Film {item}" for item in range(16)]})
    data = Dataset.from_frame(log, catalogue=catalogue, name="small")
    recorder = Recorder(backend.config)
    LlmRecGraph(LlmRecGraphConfig(parts=["edges"], pool=4, pruned=0)).write(data, Asker(recorder), split=SplitConfig())
    assert len(recorder.answers) == 8
    for prompt, text in recorder.answers:
        numbers = [int(number) for number in re.findall(r"^(\d+)\. ", prompt.text, flags=re.MULTILINE)]
        number = {"type": "integer", "enum": numbers}
        assert len(numbers) >= 2
        assert prompt.schema is not None
        assert prompt.schema["properties"] == {"liked": number, "disliked": number}
        assert list(json.loads(text)) == ["liked", "disliked"]
        assert set(json.loads(text).values()) <= set(numbers)
