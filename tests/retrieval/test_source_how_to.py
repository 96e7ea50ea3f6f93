"""The page runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "new-candidate-source.md"


def test_the_page_runs() -> None:
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)
    space: dict[str, Any] = {}
    exec(compile(code, str(PAGE), "exec"), space)
    answers = [[space["texts"][item] for item in row] for row in space["lists"].items]
    assert answers[0][0] == "travel hair dryer"
    assert answers[1][0] == "crimson nail lacquer"
    assert "after-sun lotion" in answers[2]
