"""What somebody asks for, in parts that can be searched for one by one."""

from __future__ import annotations

import re
from collections.abc import Sequence

from recsmith.language.asker import Asker
from recsmith.language.compiler import compile_prompt
from recsmith.language.parsing import parse_list
from recsmith.language.template import load_template

_BETWEEN = re.compile(r"[,;:.!?\n]+|\b(?:and|but|yet|also|with)\b", flags=re.IGNORECASE)


def request_aspects(requests: Sequence[str], asker: Asker | None, *, most: int) -> list[list[str]]:
    """At most `most` aspects of each request, and the request itself where none is found.

    A language model names them; without one (`asker` None, or a prompt that failed) they are what stands between punctuation marks and
    words such as "and" and "but".
    """
    answers: Sequence[str | None] = [None] * len(requests)
    if asker is not None:
        template = load_template("request-aspects")
        answers = asker.ask([compile_prompt(template, {"request": text, "count": most}).prompt for text in requests])
    return [_aspects(text, answer, most) for text, answer in zip(requests, answers, strict=True)]


def _aspects(request: str, answer: str | None, most: int) -> list[str]:
    named = parse_list(answer, most=most).entries if answer else _clauses(request)[:most]
    return list(dict.fromkeys(named)) or [request]


def _clauses(request: str) -> list[str]:
    parts = (part.strip() for part in _BETWEEN.split(request))
    return [part for part in parts if any(sign.isalnum() for sign in part)]
