"""`recsmith explain` on a small run."""

from __future__ import annotations

import json
from pathlib import Path

import recsmith
from recsmith.cli.program import execute
from recsmith.data import Dataset


def test_explain_names_events_and_refuses_what_makes_no_sense(tmp_path: Path, capsys) -> None:
    recommender = recsmith.fit("item-knn", Dataset.from_world(users=60, items=30, events=500), out=tmp_path / "run")
    user, item = str(recommender.log.users.ids[0]), str(recommender.log.items.ids[4])
    assert execute(["explain", str(tmp_path / "run"), "--user", user, "--item", item, "--last", "3", "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["item_id"] == recommender.log.items.ids[4]
    assert len(answer["events"]) == 3
    assert execute(["explain", str(tmp_path / "run"), "--user", user, "--item", item]) == 0
    assert "place without it" in capsys.readouterr().out
    assert execute(["explain", str(tmp_path / "run"), "--item", item]) == 2
    assert "exactly one of --user ID or --history a,b,c" in capsys.readouterr().err
    assert execute(["explain", str(tmp_path / "run"), "--user", "stranger", "--item", item]) == 2
    assert "nothing is known about this person" in capsys.readouterr().err
