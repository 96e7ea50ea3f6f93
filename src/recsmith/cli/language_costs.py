"""What commands say of the language models that they ask: what a dry run counted, and which prompts got no answer."""

from __future__ import annotations

from typing import Any

from recsmith.cli import display


def spent(cost: dict[str, Any]) -> str:
    """`1,200 + 340 tokens, 0.0021 USD`."""
    return f"{cost['prompt_tokens']:,} + {cost['answer_tokens']:,} tokens, {cost['money']:.4f} {cost['currency']}"


def would_ask(cost: dict[str, Any]) -> str:
    """What a dry run found; {} stands for a recipe that asks nobody."""
    if not cost:
        return "would ask no language model, since none is named"
    return f"would ask {cost['asked']:.0f} of {cost['prompts']:.0f} prompts of `{cost['backend']}`: at most {spent(cost)}"


def note_failures(figures: dict[str, Any]) -> None:
    """A note where prompts got no answer: how many, why the first of them did not, and how many lists it leaves as they were."""
    asked = figures if "failed" in figures else figures.get("written by", {})
    if not asked.get("failed"):
        return
    share = figures.get("left as retrieved")
    lists = "" if share is None else f", and {share:.1%} of the lists stand as the retriever gave them"
    display.note(
        f"{asked['failed']:,.0f} of {asked['prompts']:,.0f} prompts got no answer{lists}; the first failure: {asked['first failure']}; "
        "the same command asks these prompts again, and no others"
    )
