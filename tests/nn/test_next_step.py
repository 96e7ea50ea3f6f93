from __future__ import annotations

import torch

from recsmith.nn.next_step import random_prefixes


def test_a_target_per_row_with_the_events_before_it() -> None:
    torch.manual_seed(0)
    offsets = torch.tensor([0, 6, 6, 7])
    seen = set()
    for _ in range(60):
        target, before, borders = random_prefixes(offsets, tokens=7, longest=3)
        assert target.tolist()[1] == 6
        place = int(target[0])
        assert before.tolist() == list(range(2, place))  # of 6 events the last 4 take part
        assert borders.tolist() == [0, place - 2, place - 2]
        seen.add(place)
    assert seen == {2, 3, 4, 5}
