"""Costs: arithmetic by hand, and a meter that measures what happens inside."""

import numpy as np
import pytest

from recsmith.errors import DataError, UserError
from recsmith.evaluation.cost import CostMeter, LanguageCost, energy_estimate, folder_megabytes, latency, latency_of, model_size


def test_energy_by_hand():
    found = energy_estimate(cpu_seconds=3_600, wall_seconds=1_800, memory_gb=8, gpu_seconds=360, gpu_watts=100, core_watts=10, overhead=1.5)
    assert found.watt_hours == pytest.approx((10 + 0.5 * 8 * 0.3725 + 10) * 1.5)
    assert found.formula == "(3600.0 s of cores x 10 W + 1800.0 s x 8.00 GB x 0.3725 W/GB + 360.0 s of GPU x 100 W) x 1.5 overhead"
    with pytest.raises(UserError, match="cpu_seconds = -1"):
        energy_estimate(cpu_seconds=-1, wall_seconds=1, memory_gb=1)


def test_the_meter_sees_time_processor_and_memory():
    meter = CostMeter()
    with pytest.raises(UserError, match="known when the `with` block has ended"):
        _ = meter.cost
    with meter:
        block = np.ones(10_000_000)  # 80 MB, touched
        total = block.sum()
    assert total == 10_000_000
    assert meter.cost.seconds > 0
    assert meter.cost.cpu_seconds > 0
    assert meter.cost.peak_memory_mb > 80
    assert meter.cost.energy.watt_hours > 0
    assert "overhead" in meter.cost.as_dict()["energy"]["formula"]


def test_energy_by_a_library():
    pytest.importorskip("codecarbon", reason="needs the extra `energy`")
    with CostMeter(energy="codecarbon") as meter:
        total = sum(number * number for number in range(1_000_000))
    assert total > 0
    assert meter.cost.energy.watt_hours > 0
    assert "codecarbon" in meter.cost.energy.formula
    assert meter.cost.seconds < 2  # starting the library is not part of the work


def test_latency_counts_after_the_warm_up():
    calls = []
    found = latency(calls.append, range(10), warm_up=4)
    assert (len(calls), found.requests) == (10, 6)
    assert found.p50 <= found.p95 <= found.p99
    with pytest.raises(DataError, match="no requests beyond the 3 that warm up"):
        latency(calls.append, range(3))


def test_percentiles_by_hand():
    found = latency_of(np.arange(1, 101) / 1_000)
    assert found.p50 == pytest.approx(50.5)
    assert found.p95 == pytest.approx(95.05)
    assert found.per_second == pytest.approx(100 / 5.05)


def test_tokens_and_money_add_up():
    one = LanguageCost.of(1_000, 500, prompt_price=2, completion_price=8)
    assert one.money == pytest.approx(0.006)
    both = one + one
    assert (both.calls, both.prompt_tokens, both.completion_tokens, both.money) == (2, 2_000, 1_000, pytest.approx(0.012))
    assert (one + LanguageCost.of(1, 1)).money is None
    assert sum([one, one], LanguageCost()).as_dict()["calls"] == 2


def test_sizes(tmp_path):
    found = model_size({"a": np.zeros((10, 10), dtype=np.float32), "b": np.zeros(5, dtype=np.float64)})
    assert (found.parameters, found.megabytes) == (105, 440 / 1e6)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "file").write_bytes(b"x" * 2_000)
    assert folder_megabytes(tmp_path) == pytest.approx(0.002)
