"""`Runtime`: the one seam for device, precision and threads. Everything that touches torch asks it, nobody asks the environment."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

Precision = Literal["auto", "fp32", "bf16"]
Device = Literal["auto", "cpu", "cuda"]


def prepare_environment() -> None:
    """Call before torch is first imported: makes idle OpenMP threads sleep instead of spinning against other processes."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def default_cache() -> Path:
    """Folder of what is worth keeping between runs: `$RECSMITH_CACHE`, else `~/.cache/recsmith`."""
    named = os.environ.get("RECSMITH_CACHE")
    return Path(named) if named else Path.home() / ".cache" / "recsmith"


@dataclass(frozen=True)
class Runtime:
    """Where the arithmetic happens: a resolved device and the type of large products (`torch.float32` or `torch.bfloat16`)."""

    device: torch.device
    compute_dtype: torch.dtype

    @classmethod
    def choose(cls, device: Device = "auto", precision: Precision = "auto") -> Runtime:
        """Resolve "auto": CUDA where there is one; bf16 where the device multiplies it faster than fp32."""
        import torch

        name = device if device != "auto" else ("cuda" if torch.cuda.is_available() else "cpu")
        bf16 = precision == "bf16" or (precision == "auto" and _bf16_gains(name))
        return cls(torch.device(name), torch.bfloat16 if bf16 else torch.float32)


def _bf16_gains(device: str) -> bool:
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported()
    return "avx512_bf16" in _cpu_flags() or "amx_bf16" in _cpu_flags()


def _cpu_flags() -> frozenset[str]:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            line = next((line for line in file if line.startswith("flags")), "")
    except OSError:
        return frozenset()
    return frozenset(line.split())
