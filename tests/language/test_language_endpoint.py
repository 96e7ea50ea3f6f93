from __future__ import annotations

import asyncio
import logging
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from recsmith.errors import BackendError, ConfigError, UserError
from recsmith.language import AnswerCache, EndpointBackend, EndpointConfig, Prompt, Retries, StreamingBackend, ask
from recsmith.language.chat_protocol import redacted


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


SECRET = "sk-very-secret-0123456789"


def test_the_key_is_sent_and_appears_nowhere(endpoint, monkeypatch, caplog, tmp_path: Path) -> None:
    endpoint.behave(key=SECRET)
    monkeypatch.setenv("SOME_KEY", SECRET)
    backend = endpoint.backend(key_variable="SOME_KEY")
    with caplog.at_level(logging.DEBUG), AnswerCache(tmp_path / "answers.sqlite") as cache:
        ask(prompts(1), backend, cache=cache)
        endpoint.behave(key="another")
        with pytest.raises(BackendError, match=r"status 401: Incorrect API key provided: \[key\].*`key_variable`") as error:
            ask(prompts(2), backend, cache=cache)
    everything = caplog.text + str(error.value) + repr(backend.config) + backend.name
    assert SECRET not in everything
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_keys_that_servers_shorten_are_hidden_too() -> None:
    assert redacted(f"bad key {SECRET[:8]}...6789", SECRET) == "bad key [key]...6789"
    assert redacted("no key", "") == "no key"


@pytest.mark.parametrize("url", ["http://name:word@host/v1", "https://host/v1?key=1"])
def test_addresses_with_secrets_are_refused(url: str) -> None:
    with pytest.raises(UserError, match="leave them out and put the key into an environment variable"):
        EndpointBackend(EndpointConfig(url=url, model="tiny"))


def test_addresses_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match="`url` = 'host' is no address of an endpoint"):
        EndpointBackend(EndpointConfig(url="host", model="tiny"))


def test_requests_a_minute_are_kept(endpoint) -> None:
    """Ten a second, a second's worth at once: the last of 18 starts .8 s after the first or later."""
    started = time.perf_counter()
    ask(prompts(18), endpoint.backend(requests_per_minute=600))
    assert time.perf_counter() - started >= 0.7
    assert endpoint.stats()["paid"] == 18


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
