"""The language port: prompt → language model → parser. Any endpoint, any local folder, or a script; nothing here requires one of them."""

from recsmith.language.answer_cache import AnswerCache
from recsmith.language.asking import Answers, Estimate, ask, ask_all, estimate, run_here
from recsmith.language.budget import Budget, Ledger, Price
from recsmith.language.completion import (
    Backend,
    Completion,
    LikelihoodBackend,
    Message,
    Prompt,
    Sampling,
    StreamingBackend,
)
from recsmith.language.endpoint import EndpointBackend, EndpointConfig
from recsmith.language.pacing import Retries
from recsmith.language.scripted import ScriptedBackend

__all__ = [
    "AnswerCache",
    "Answers",
    "Backend",
    "Budget",
    "Completion",
    "EndpointBackend",
    "EndpointConfig",
    "Estimate",
    "Ledger",
    "LikelihoodBackend",
    "Message",
    "Price",
    "Prompt",
    "Retries",
    "Sampling",
    "ScriptedBackend",
    "StreamingBackend",
    "ask",
    "ask_all",
    "estimate",
    "run_here",
]
