"""The page runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("transformers")

from recsmith.tuning_language import load_tasks

PAGE = Path(__file__).parents[2] / "docs" / "how-to" / "tune-language-models.md"


def test_the_page_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    text = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        exec(compile(block, str(PAGE), "exec"), {})
    (tmp_path / "mine.toml").write_text(re.findall(r"```toml\n(.*?)```", text, flags=re.DOTALL)[0], encoding="utf-8")
    assert load_tasks(str(tmp_path / "mine.toml")).families == ["sequential"]
