"""The how-to on slates runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch

from recsmith.decoding import fill_slates
from recsmith.protocols import HistoryBatch, SlateModel

PAGE = Path(__file__).parents[1] / "docs" / "how-to" / "slates.md"


def test_the_page_runs() -> None:
    page = PAGE.read_text(encoding="utf-8")
    names: dict[str, Any] = {}
    tables = []
    for block in re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL):
        exec(compile(block, str(PAGE), "exec"), names)
        tables.append(names["table"])
    assert tables[0].columns == ["user_id", "slot", "item_id", "score", "log_likelihood"]
    assert tables[0].height == 4
    shop = names["data"].catalogue.frame.select("item_id", "provider")
    ruled = tables[1].join(shop, on="item_id")
    assert ruled.group_by("user_id", "provider").len()["len"].max() <= 2
    assert (tables[1].filter(slot=1)["item_id"] == "i00012").all()
    assert names["another"].height == names["worse"].height == 4
    assert set(tables[2]["item_id"]) <= set("abcdef")
    assert 0 <= names["measured"].metrics["Clicks@2"] <= 2
    model = names["Spread"](names["Ease"].Config(), items=4).eval()
    assert isinstance(model, SlateModel)
    nobody = HistoryBatch(torch.zeros(0, dtype=torch.int64), torch.zeros(2, dtype=torch.int64))
    assert len(set(fill_slates(model, nobody, 4).items[0].tolist())) == 4
