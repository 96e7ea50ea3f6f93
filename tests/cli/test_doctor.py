"""What `recsmith doctor` finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from recsmith.cli import diagnosis


@pytest.mark.parametrize(
    ("found", "wanted", "fit"),
    [
        ("2.13.0+cpu", "<2.14,>=2.13", True),
        ("2.14.0", "<2.14,>=2.13", False),
        ("2.1", ">=2.1.0", True),
        ("0.1.0", "==0.1.0", True),
        ("1.4.9", "~=1.4.2", True),
        ("1.5.0", "~=1.4.2", False),
        ("13", "", True),
    ],
)
def test_versions(found: str, wanted: str, fit: bool) -> None:
    assert diagnosis.fits(found, wanted) is fit


def test_json(cli) -> None:
    found = cli("doctor", "--json").json
    assert found["torch"]["installed"] is True
    assert {row["name"] for row in found["packages"]} >= {"torch", "polars", "typer"}
    assert found["extras"]["tune"]["enables"] == "recsmith tune"
    assert set(found["extras"]) == set(diagnosis.ENABLES), "an extra that nobody explains, or an explanation of none"


def test_report_names_what_is_there(cli) -> None:
    out = cli("doctor").out
    assert "torch" in out
    assert "cores" in out


def test_a_missing_extra_and_an_old_package_are_something_to_do(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"optuna": None, "polars": "1.9"}
    real = diagnosis._version
    monkeypatch.setattr(diagnosis, "_version", lambda name: versions.get(name, real(name)) if name in versions else real(name))
    found = cli("doctor", "--json").json
    assert any("polars 1.9; needed: " in warning for warning in found["warnings"])
    assert any("pip install 'recsmith[tune]'" in step for step in found["what_to_do"])
    assert "warning: polars 1.9" in cli("doctor").out


def test_a_data_folder_that_does_not_exist(cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECSMITH_DATA", str(tmp_path / "gone"))
    assert any("gone" in warning for warning in cli("doctor", "--json").json["warnings"])


def test_torchvision_is_warned_of(cli, monkeypatch: pytest.MonkeyPatch) -> None:
    real = diagnosis.find_spec
    monkeypatch.setattr(diagnosis, "find_spec", lambda name: object() if name == "torchvision" else real(name))
    assert any("torchvision" in warning for warning in cli("doctor", "--json").json["warnings"])
