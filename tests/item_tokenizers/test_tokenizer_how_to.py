"""The example of docs/how-to/new-item-tokenizer.md runs and conforms."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from recsmith.testing.tokenizers import ItemTokenizerTests

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "new-item-tokenizer.md"
EXAMPLE: dict[str, Any] = {"__name__": "how_to"}
exec(re.search(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL).group(1), EXAMPLE)


class TestHowToConformance(ItemTokenizerTests):
    def make(self, **overrides: Any) -> Any:
        return EXAMPLE["Signs"](EXAMPLE["SignsConfig"].parse(overrides))
