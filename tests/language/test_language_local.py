from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from tiny_language_model import write_tiny_model

from recsmith.errors import BackendError, UserError
from recsmith.language import Backend, LikelihoodBackend, Prompt, Sampling, ask, run_here
from recsmith.language.local import LocalBackend, LocalConfig

SHORT = Sampling(max_tokens=12)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture(scope="module")
def backend(folder: Path) -> LocalBackend:
    return LocalBackend(LocalConfig(folder=str(folder), precision="fp32", batch_size=4))


def questions(count: int, sampling: Sampling = SHORT) -> list[Prompt]:
    return [Prompt.of("q" * (1 + 3 * index), system="answer", sampling=sampling) for index in range(count)]


def test_it_is_a_backend_that_knows_likelihoods_and_says_what_it_is(backend: LocalBackend) -> None:
    assert isinstance(backend, Backend)
    assert isinstance(backend, LikelihoodBackend)
    assert backend.name.startswith("tiny (files sha256 ")
    assert backend.name.endswith(", float32)")


def test_answers_in_a_batch_are_the_answers_alone(backend: LocalBackend) -> None:
    together = ask(questions(6), backend)
    alone = [ask([prompt], backend).texts[0] for prompt in questions(6)]
    assert together.texts == alone
    assert len(set(alone)) > 1
    first = together.completions[0]
    assert (first.prompt_tokens, first.backend, first.model) == (len("answer\n\nq\n"), backend.name, "tiny")
    assert first.answer_tokens == 12
    assert first.finish == "length"


def test_drawn_answers_differ_by_draw_and_repeat_by_seed(backend: LocalBackend) -> None:
    drawn = Sampling(max_tokens=8, temperature=1.5)
    prompts = [Prompt(Prompt.of("q").messages, drawn, draw=draw) for draw in range(3)]
    texts = ask(prompts, backend).texts
    assert len(set(texts)) == 3
    assert ask(prompts[::-1], backend).texts == texts[::-1]


def test_choices_are_enforced_while_decoding(backend: LocalBackend) -> None:
    choices = ("yes", "no", "not at all")
    prompts = [Prompt(prompt.messages, SHORT, choices=choices) for prompt in questions(4)]
    answers = ask([*prompts, Prompt.of("free", sampling=SHORT)], backend)
    assert set(answers.texts[:4]) <= set(choices)
    assert all(completion.finish == "stop" for completion in answers.completions[:4])
    assert answers.texts[4] not in choices


def test_likelihoods_are_those_of_the_model_word_for_word(backend: LocalBackend) -> None:
    import torch

    texts = ("film", "a book", "x")
    found = run_here(backend.log_likelihood("I like ", texts))
    for text, value in zip(texts, found, strict=True):
        tokens = torch.tensor([backend._plain("I like ") + backend._plain(text)])
        with torch.no_grad():
            logits = backend._model(tokens).logits.log_softmax(dim=2)[0]
        start = len(backend._plain("I like "))
        expected = sum(float(logits[place - 1, tokens[0, place]]) for place in range(start, tokens.shape[1]))
        assert value == pytest.approx(expected, abs=1e-3)
    with pytest.raises(BackendError, match="cannot judge the empty text ''"):
        run_here(backend.log_likelihood("I like ", ("",)))


@pytest.mark.parametrize("precision", ["bf16", "int8"])
def test_other_number_types_stay_near(precision: str, folder: Path, backend: LocalBackend) -> None:
    other = LocalBackend(LocalConfig(folder=str(folder), precision=precision, device="cpu"))
    texts = ("film", "a book", "x")
    full, found = (run_here(one.log_likelihood("I like ", texts)) for one in (backend, other))
    assert found == pytest.approx(full, rel=0.08)
    assert found != full
    assert other.name != backend.name
    assert len(ask(questions(2), other).texts) == 2


def test_chat_templates_are_used(tmp_path: Path) -> None:
    chat = LocalBackend(LocalConfig(folder=str(write_tiny_model(tmp_path / "chat", chat=True))))
    assert chat._rendered(Prompt.of("q", system="s")) == "[system] s\n[user] q\n[assistant]"


def test_what_does_not_fit_is_an_error_and_others_are_answered(backend: LocalBackend) -> None:
    long = Prompt.of("q" * 3000, sampling=Sampling(max_tokens=5))
    kept = ask([long, *questions(2)], backend, on_failure="keep")
    assert list(kept.failures) == [0]
    assert "holds 2048 tokens, prompt and answer may need" in kept.failures[0]
    assert len(kept.completions[1].text) >= 0


def test_of_one_batch_only_what_does_not_fit_fails(backend: LocalBackend) -> None:
    """All of one sampling, so that the four are one batch; the long one alone would fit but for the answer."""
    batch = [*questions(2), Prompt.of("q" * 2040, sampling=SHORT), Prompt.of("last", sampling=SHORT)]
    kept = ask(batch, backend, on_failure="keep")
    assert list(kept.failures) == [2]
    assert "holds 2048 tokens, prompt and answer may need 2053; give `max_tokens`" in kept.failures[2]
    assert [kept.texts[place] for place in (0, 1, 3)] == ask([batch[place] for place in (0, 1, 3)], backend).texts
    assert kept.completions[0].prompt_tokens == len("answer\n\nq\n")
    with pytest.raises(BackendError, match="holds 2048 tokens"):
        ask(batch, backend)


def test_a_folder_that_cannot_be_loaded_is_an_error_for_all_who_wait(folder: Path, tmp_path: Path) -> None:
    for path in folder.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    for name in ("tokenizer.json", "tokenizer_config.json"):
        content = (tmp_path / name).read_text().replace("pad_token", "no_token").replace("eos_token", "not_token")
        (tmp_path / name).write_text(content)
    with pytest.raises(UserError, match="has neither a padding nor an end token"):
        ask(questions(3), LocalBackend(LocalConfig(folder=str(tmp_path))))


def test_folders_without_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no language model"):
        LocalBackend(LocalConfig(folder=str(tmp_path)))


def test_tokens_are_counted_by_the_model(backend: LocalBackend) -> None:
    assert backend.count_tokens("abc") == 3
    asyncio.run(backend.close())
