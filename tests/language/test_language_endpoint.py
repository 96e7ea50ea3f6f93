from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recsmith.errors import BackendError, ConfigError
from recsmith.language import AnswerCache, EndpointBackend, EndpointConfig, Prompt, Retries, Sampling, StreamingBackend, ask
from recsmith.language.chat_protocol import PassingFailure, StreamReader, read_completion
from recsmith.language.counting import prompt_tokens


def prompts(count: int) -> list[Prompt]:
    return [Prompt.of(f"question {index}") for index in range(count)]


FAULTS = ["429", "500", "cut", "malformed", "wrong-model", "empty", "hang-up"]


def test_an_answer_says_who_spoke_and_what_it_cost(endpoint) -> None:
    endpoint.behave(cached=4)
    answers = ask([Prompt.of("a question", system="an instruction")], endpoint.backend())
    (completion,) = answers.completions
    assert completion is not None
    assert completion.text == "answer to a question"
    assert completion.backend == f"tiny at {endpoint.url}"
    assert (completion.model, completion.prompt_tokens, completion.answer_tokens, completion.reused_tokens) == ("tiny", 11, 7, 4)
    body = endpoint.stats()["bodies"][-1]
    assert body["messages"] == [{"role": "system", "content": "an instruction"}, {"role": "user", "content": "a question"}]
    assert (body["temperature"], body["max_tokens"], "seed" in body, "stream" in body) == (0.0, 512, False, False)


@pytest.mark.parametrize("streaming", [False, True])
def test_many_prompts_with_faults_end_with_one_answer_each(endpoint, streaming: bool) -> None:
    endpoint.behave(rate=0.1, faults=FAULTS, latency=0.002, seed=1)
    answers = ask(prompts(120), endpoint.backend(streaming=streaming))
    stats = endpoint.stats()
    assert answers.texts == [f"answer to question {index}" for index in range(120)]
    assert stats["paid"] == 120
    assert set(stats["paid_prompts"].values()) == {1}
    assert sum(stats["faults"].values()) >= 5
    assert stats["most_at_once"] <= 32
    assert answers.figures["calls"] == stats["calls"]


def test_slow_answers_are_given_up_and_asked_again(endpoint) -> None:
    endpoint.behave(rate=0.4, faults=["slow"], slow=60.0, seed=3)
    answers = ask(prompts(6), endpoint.backend(timeout=1.5))
    assert answers.texts == [f"answer to question {index}" for index in range(6)]
    assert endpoint.stats()["faults"]["slow"] > 0
    assert answers.figures["calls"] > 6


def test_retry_after_is_kept(endpoint) -> None:
    endpoint.behave(rate=1.0, faults=["429"], after="0.3")
    backend = endpoint.backend(retries=Retries(attempts=2, first_wait=0.0))
    started = time.perf_counter()
    with pytest.raises(BackendError, match=r"gave no answer in 2 attempts; the last failure: status 429: Rate limit reached"):
        ask(prompts(1), backend)
    assert time.perf_counter() - started >= 0.3


def test_a_long_retry_after_is_an_error_that_says_how_long(endpoint) -> None:
    endpoint.behave(rate=1.0, faults=["429"], after="3600")
    with pytest.raises(BackendError, match=r"asks to wait 3600 s, `retries.longest_wait` allows 1 s"):
        ask(prompts(1), endpoint.backend())


FINAL = {
    "no-money": r"status 429: You exceeded your quota; the account has no money left",
    "400": r"status 400: maximum context length is 10 tokens; check that the prompt fits",
    "moved": r"status 307: .*; the address has moved",
}


@pytest.mark.parametrize(("fault", "message"), FINAL.items(), ids=FINAL.keys())
def test_what_will_not_pass_is_final(endpoint, fault: str, message: str) -> None:
    endpoint.behave(rate=1.0, faults=[fault])
    with pytest.raises(BackendError, match=message):
        ask(prompts(1), endpoint.backend())
    assert endpoint.stats()["calls"] == 1


def test_another_models_answers_are_refused(endpoint) -> None:
    endpoint.behave(rate=1.0, faults=["wrong-model"])
    with pytest.raises(BackendError, match=r"answered with the model 'some-other-model' instead of 'tiny'"):
        ask(prompts(1), endpoint.backend())
    assert ask(prompts(1), endpoint.backend(same_model=False)).completions[0].model == "some-other-model"


def test_an_endpoint_that_is_down(tmp_path: Path) -> None:
    backend = EndpointBackend(EndpointConfig(url="http://127.0.0.1:9/v1", model="tiny", retries=Retries(attempts=2, first_wait=0.01)))
    with pytest.raises(BackendError, match=r"tiny at http://127.0.0.1:9/v1 gave no answer in 2 attempts"):
        ask(prompts(1), backend)


def test_streams_come_in_pieces(endpoint) -> None:
    backend = endpoint.backend()
    assert isinstance(backend, StreamingBackend)

    async def pieces() -> list[str]:
        try:
            return [piece async for piece in backend.stream(Prompt.of("a question"))]
        finally:
            await backend.close()

    assert asyncio.run(pieces()) == ["answer", " to", " a", " question"]


def test_a_stream_cut_in_the_middle_is_an_error(endpoint) -> None:
    endpoint.behave(rate=1.0, faults=["cut"])
    backend, got = endpoint.backend(), []

    async def pieces() -> None:
        try:
            async for piece in backend.stream(Prompt.of("a question")):
                got.append(piece)
        finally:
            await backend.close()

    with pytest.raises(BackendError, match="broke off in the middle of its answer"):
        asyncio.run(pieces())
    assert got == ["answer"]


def test_addresses_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="`url` = 'host' is no address of an endpoint"):
        EndpointBackend(EndpointConfig(url="host", model="tiny"))


def test_requests_a_minute_are_kept(endpoint) -> None:
    """Ten a second, a second's worth at once: the last of 18 starts .8 s after the first or later."""
    started = time.perf_counter()
    ask(prompts(18), endpoint.backend(requests_per_minute=600))
    assert time.perf_counter() - started >= 0.7
    assert endpoint.stats()["paid"] == 18


def test_tokens_a_minute_are_kept(endpoint) -> None:
    """Room for a thousand tokens a second, a second's worth at once: what goes beyond it takes its time, however few the requests."""
    asked = [Prompt.of(f"question {index}", sampling=Sampling(max_tokens=290)) for index in range(5)]
    beyond = sum(prompt_tokens(prompt) + prompt.sampling.max_tokens for prompt in asked[:-1]) / 1000 - 1
    assert 0.1 < beyond < 0.5
    started = time.perf_counter()
    ask(asked, endpoint.backend(tokens_per_minute=60_000))
    assert time.perf_counter() - started >= beyond - 0.01
    assert endpoint.stats()["paid"] == 5


SCHEMA = {"type": "object", "properties": {"liked": {"type": "integer"}}, "required": ["liked"], "additionalProperties": False}


@pytest.mark.parametrize("streaming", [False, True])
def test_the_form_of_an_answer_is_handed_to_servers_that_enforce_it(endpoint, streaming: bool) -> None:
    forms = {}
    for structured in ("none", "json-object", "json-schema"):
        question = Prompt(Prompt.of(f"question for {structured}").messages, schema=SCHEMA)
        ask([question], endpoint.backend(structured=structured, streaming=streaming))
        forms[structured] = endpoint.stats()["bodies"][-1].get("response_format")
    assert forms == {
        "none": None,
        "json-object": {"type": "json_object"},
        "json-schema": {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": SCHEMA}},
    }
    ask(prompts(1), endpoint.backend(structured="json-schema", streaming=streaming))
    assert "response_format" not in endpoint.stats()["bodies"][-1]


JOB = """
import sys
from recsmith.language import *
url, path, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
backend = EndpointBackend(EndpointConfig(url=url, model="tiny", concurrency=16, retries=Retries(first_wait=0.02)))
with AnswerCache(path) as cache:
    answers = ask([Prompt.of(f"question {index}") for index in range(count)], backend, cache=cache)
assert answers.texts == [f"answer to question {index}" for index in range(count)]
"""


def test_a_killed_job_goes_on_and_pays_at_most_what_was_under_way_twice(endpoint, tmp_path: Path) -> None:
    endpoint.behave(latency=0.02)
    command = [sys.executable, "-c", JOB, endpoint.url, str(tmp_path / "answers.sqlite"), "80"]
    process = subprocess.Popen(command)
    while endpoint.stats()["paid"] < 24:
        assert process.poll() is None
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert endpoint.stats()["paid"] < 80
    subprocess.run(command, check=True)
    assert 80 <= endpoint.stats()["paid"] <= 80 + 16
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        assert len(cache) == 80


@pytest.mark.parametrize("choice", ['{"message": "text"}', '{"message": {"content": ["text"]}}', '{"message": null}'])
def test_bodies_of_another_shape_are_worth_another_call(choice: str) -> None:
    with pytest.raises(PassingFailure, match="holds no text"):
        read_completion(f'{{"choices": [{choice}], "usage": 3}}'.encode(), Prompt.of("hello"), backend="odd")


def test_pieces_of_a_stream_that_are_no_text_are_worth_another_call() -> None:
    reader = StreamReader("odd")
    assert reader.feed('data: {"choices": [{"delta": "text"}]}') == ""
    with pytest.raises(PassingFailure, match="no text"):
        reader.feed('data: {"choices": [{"delta": {"content": ["text"]}}]}')
    with pytest.raises(PassingFailure, match="no choices"):
        reader.feed('data: {"choices": "text"}')
