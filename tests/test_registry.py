"""Names are looked up late, with suggestions, and every name that we ship resolves."""

from __future__ import annotations

import pytest

from recsmith.data import READERS
from recsmith.errors import MissingExtraError, UserError, import_extra, suggestion
from recsmith.item_tokenizers import TOKENIZERS
from recsmith.models import MODELS
from recsmith.registry import Registry


@pytest.mark.parametrize("registry", [MODELS, TOKENIZERS, READERS], ids=lambda registry: registry.kind)
def test_every_name_resolves(registry: Registry) -> None:
    assert [registry.get(name) for name in registry.names()]


def test_unknown_name_suggests() -> None:
    with pytest.raises(UserError, match=r"unknown model `sasrek`; did you mean `sasrec`\?"):
        MODELS.get("sasrek")
    with pytest.raises(UserError, match="allowed: `popularity`"):
        MODELS.get("zzz")


def test_suggestion_lists_when_nothing_is_close() -> None:
    assert suggestion("q", ["alpha", "beta"]) == "allowed: `alpha`, `beta`"


def test_missing_extra_is_one_line() -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'recsmith\[text\]'"):
        import_extra("no_such_module_here", extra="text", purpose="the text encoder")
