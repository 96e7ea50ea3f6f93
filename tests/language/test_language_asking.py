from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsmith.errors import BackendError, BudgetError, StorageError, UserError
from recsmith.language import (
    AnswerCache,
    Backend,
    Budget,
    Completion,
    Ledger,
    Price,
    Prompt,
    Sampling,
    ScriptedBackend,
    ask,
    ask_all,
    estimate,
)
from recsmith.language.pacing import Pace, Retries, retry_after


def echo(prompt: Prompt) -> str:
    return f"<{prompt.messages[-1].content}>"


class Flaky(ScriptedBackend):
    """Fails for questions that hold a 7, after others have been started."""

    async def complete(self, prompt: Prompt) -> Completion:
        completion = await super().complete(prompt)
        if "7" in prompt.messages[-1].content:
            raise BackendError("no sevens")
        return completion


def prompts(count: int, **sampling) -> list[Prompt]:
    return [Prompt.of(f"q{index}", sampling=Sampling(**sampling)) for index in range(count)]


def test_answers_stand_in_the_order_of_the_prompts_and_repeated_ones_are_asked_once() -> None:
    backend = ScriptedBackend(echo)
    assert isinstance(backend, Backend)
    answers = ask([Prompt.of("a"), Prompt.of("b"), Prompt.of("a")], backend)
    assert answers.texts == ["<a>", "<b>", "<a>"]
    assert len(backend.asked) == 2
    assert {key: answers.figures[key] for key in ("prompts", "asked", "cached", "repeated", "failed")} == {
        "prompts": 3, "asked": 2, "cached": 0, "repeated": 1, "failed": 0,
    }  # fmt: skip


def test_draws_of_one_question_are_several_answers() -> None:
    backend = ScriptedBackend(echo)
    ask([Prompt((Prompt.of("a").messages), draw=draw) for draw in range(3)], backend)
    assert len(backend.asked) == 3


def test_a_second_run_asks_nothing_and_says_so(tmp_path: Path) -> None:
    backend = ScriptedBackend(echo)
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        first = ask(prompts(5), backend, cache=cache)
        assert (estimate(prompts(6), backend, cache=cache).cached, len(cache)) == (5, 5)
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        second = ask(prompts(6), backend, cache=cache)
    assert second.texts[:5] == first.texts
    assert [completion.cached for completion in second.completions] == [True] * 5 + [False]
    assert len(backend.asked) == 6
    assert (second.figures["cached"], second.figures["asked"]) == (5, 1)


@pytest.mark.parametrize(
    "change", [{"sampling": Sampling(temperature=1.0)}, {"choices": ("a",)}, {"schema": {"type": "object"}}, {"draw": 1}]
)
def test_whatever_changes_the_answer_changes_the_key(change: dict) -> None:
    messages = Prompt.of("a").messages
    assert Prompt(messages).key("model") != Prompt(messages, **change).key("model")
    assert Prompt(messages).key("model") != Prompt(messages).key("another model")
    assert Prompt(messages).key("model") == Prompt.of("a").key("model")


def test_a_failed_prompt_leaves_the_other_answers_in_the_cache(tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        with pytest.raises(BackendError, match="no sevens"):
            ask(prompts(20), Flaky(echo), cache=cache)
        assert len(cache) >= 7
        kept = ask(prompts(20), Flaky(echo), cache=cache, on_failure="keep")
    assert kept.failures == {7: "no sevens", 17: "no sevens"}
    assert [index for index, completion in enumerate(kept.completions) if completion is None] == [7, 17]
    assert kept.texts[8] == "<q8>"


def test_a_dry_run_counts_and_asks_nothing() -> None:
    backend = ScriptedBackend(echo)
    backend.price = Price(prompt_per_million=10, answer_per_million=20, currency="EUR")  # type: ignore[attr-defined]
    found = estimate(prompts(10, max_tokens=100), backend)
    assert (found.to_ask, found.most_answer_tokens, found.currency) == (10, 1000, "EUR")
    assert found.most_money == pytest.approx((found.prompt_tokens * 10 + 1000 * 20) / 1e6)
    assert backend.asked == []


def test_a_spent_budget_stops_and_keeps_what_was_answered(tmp_path: Path) -> None:
    backend = ScriptedBackend(echo)
    with AnswerCache(tmp_path / "answers.sqlite") as cache:
        with pytest.raises(BudgetError, match=r"the budget of 200 tokens is spent: .* answers so far are kept: raise the budget"):
            ask(prompts(50, max_tokens=20), backend, cache=cache, budget=Budget(max_tokens=200))
        before = len(cache)
        assert 5 <= before < 25
        answers = ask(prompts(50, max_tokens=20), backend, cache=cache, budget=Budget(max_tokens=10_000))
    assert all(answers.texts)
    assert len(backend.asked) == 50


def test_money_is_never_overdrawn() -> None:
    backend = ScriptedBackend(echo, delay=0.001)
    backend.price = Price(answer_per_million=1e6)  # type: ignore[attr-defined]
    with pytest.raises(BudgetError, match=r"the budget of 9.0000 USD is spent"):
        ask(prompts(50, max_tokens=3), backend, budget=Budget(max_money=9.0))
    assert len(backend.asked) <= 9 // 2


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50), st.integers(0, 50), st.booleans()), max_size=20), st.integers(0, 500))
def test_what_is_reserved_and_spent_never_exceeds_the_budget(calls: list, limit: int) -> None:
    ledger, open_calls = Ledger(Budget(max_tokens=limit)), []
    for before, longest, used, failed in calls:
        if ledger.fits(before, longest):
            ledger.reserve(before, longest)
            open_calls.append((before, longest, min(used, longest), failed))
        if len(open_calls) > 2:
            before, longest, used, failed = open_calls.pop(0)
            ledger.settle((before, longest), None if failed else Completion("", "b", "m", before, used))
        assert ledger.tokens <= limit


def test_ask_works_inside_a_running_loop() -> None:
    async def inside() -> list[str]:
        return ask(prompts(2), ScriptedBackend(echo)).texts

    assert asyncio.run(inside()) == ["<q0>", "<q1>"]


def test_interrupted_tasks_are_cancelled(tmp_path: Path) -> None:
    backend = ScriptedBackend(echo, delay=0.05)

    async def stopped() -> None:
        with AnswerCache(tmp_path / "answers.sqlite") as cache:
            task = asyncio.create_task(ask_all(prompts(200), backend, cache=cache))
            while len(cache) == 0:
                await asyncio.sleep(0.005)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert 0 < len(cache) < 200
            await asyncio.sleep(0.1)
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(stopped())


@pytest.mark.parametrize("content", [b"this is no database, just some text that is long enough" * 40])
def test_files_that_are_no_cache_are_refused(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(UserError, match="is not an answer cache"):
        AnswerCache(tmp_path / "file")


def test_other_databases_are_refused(tmp_path: Path) -> None:
    connection = sqlite3.connect(tmp_path / "other")
    connection.execute("CREATE TABLE t (a)")
    connection.commit()
    connection.close()
    with pytest.raises(UserError, match="a database of something else"):
        AnswerCache(tmp_path / "other")


def test_a_cache_in_an_impossible_place(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="choose another place"):
        AnswerCache(tmp_path / "file" / "answers.sqlite")


def test_the_first_answer_stays(tmp_path: Path) -> None:
    with AnswerCache(tmp_path / "a") as one, AnswerCache(tmp_path / "a") as other:
        one.add("k", Completion("first", "b", "m", 3, 4, 1, "length", 2))
        other.add("k", Completion("second", "b", "m"))
        assert other.find(["k", "x"]) == {"k": Completion("first", "b", "m", 3, 4, 1, "length", 2, cached=True)}


def test_retry_after_in_seconds_and_as_a_date() -> None:
    from datetime import UTC, datetime

    now = datetime(2026, 1, 1, tzinfo=UTC)
    assert retry_after("2.5") == 2.5
    assert retry_after("Thu, 01 Jan 2026 00:00:30 GMT", now=now) == 30
    assert [retry_after(value) for value in (None, "soon", "nan")] == [None, None, None]


def test_waits_grow_with_jitter_and_respect_the_server() -> None:
    import random

    retries = Retries(first_wait=1.0, longest_wait=8.0)
    for failures, longest in ((1, 1), (2, 2), (3, 4), (4, 8), (9, 8)):
        waits = [retries.wait(failures, asked_for=None, random_=random.Random(seed)) for seed in range(50)]
        assert 0 <= min(waits) <= max(waits) <= longest
        assert max(waits) - min(waits) > longest / 2
    assert retries.wait(1, asked_for=5.0, random_=random.Random(0)) >= 5.0


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 5), min_size=1, max_size=30), st.floats(1, 600))
def test_a_pace_is_never_exceeded_over_any_stretch(gaps: list[float], per_minute: float) -> None:
    pace, now, starts = Pace(per_minute, burst=1.0), 0.0, []
    for gap in gaps:
        now += gap
        starts.append(now + pace.book(1.0, now))
    for first in range(len(starts)):
        for last in range(first, len(starts)):
            allowed = (starts[last] - starts[first] + 1.0) * per_minute / 60 + 1
            assert last - first + 1 <= allowed + 1e-6


def test_scripts_that_end_or_do_not_know_say_so() -> None:
    with pytest.raises(BackendError, match=r"the script is at its end and was asked 'q1'"):
        ask(prompts(2), ScriptedBackend(["only one"]))
    with pytest.raises(BackendError, match=r"the script has no answer to 'q1'"):
        ask(prompts(2), ScriptedBackend({"q0": "x"}))
