"""Checkpoints: one safetensors file that holds all that a training needs to go on as if nothing had happened."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from recsmith.errors import ArtifactError, StorageError

FILE = "checkpoint.safetensors"
_FORMAT = 1


@dataclass(frozen=True)
class Checkpoint:
    """A moment of a training, between two optimiser steps."""

    tensors: Mapping[str, Tensor]
    """`model.*`, `best.*`, `optimizer.<parameter>.<key>` and `random.*`."""
    state: Mapping[str, Any]
    """Counters, curve and best figures, as plain JSON values."""
    identity: Mapping[str, str]
    """What the training was started with, part by part; a checkpoint continues only the training that wrote it."""

    def part(self, prefix: str) -> dict[str, Tensor]:
        """The tensors whose name starts with `prefix.`, without it."""
        return {name[len(prefix) + 1 :]: tensor for name, tensor in self.tensors.items() if name.startswith(f"{prefix}.")}


def write_checkpoint(folder: Path, checkpoint: Checkpoint) -> None:
    """Replace the checkpoint of `folder` in one rename; raises `StorageError` and leaves the old one when that fails."""
    path = folder / FILE
    draft = folder / f".{FILE}.draft-{os.getpid()}"
    header = json.dumps({"format": _FORMAT, "state": checkpoint.state, "identity": checkpoint.identity})
    # a clone of each tensor: safetensors refuses tensors that share memory, as tied weights do
    tensors = {name: tensor.detach().to("cpu", copy=True).contiguous() for name, tensor in checkpoint.tensors.items()}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        save_file(tensors, draft, metadata={"recsmith": header})
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(path)
    except (OSError, SafetensorError) as error:
        raise StorageError(
            f"cannot write the checkpoint `{path}`: {error}; the one before it is unchanged; free some space or choose another place"
        ) from error
    finally:
        with suppress(OSError):  # the error that brought us here says more than a failed clean-up
            draft.unlink()


def read_checkpoint(folder: Path, *, identity: Mapping[str, str]) -> Checkpoint | None:
    """The checkpoint of `folder`, None when there is none.

    Raises `ArtifactError` when the file is damaged or belongs to another training than `identity` describes.
    """
    path = folder / FILE
    if not path.exists():
        return None
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {})["recsmith"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dictionary)
    except (SafetensorError, KeyError, ValueError, OSError) as error:
        raise ArtifactError(f"the checkpoint `{path}` cannot be read ({error}); delete it to start afresh") from error
    if header.get("format") != _FORMAT:
        raise ArtifactError(
            f"the checkpoint `{path}` has format {header.get('format')!r}, this recsmith reads {_FORMAT}; delete it to start afresh"
        )
    different = sorted(name for name in {*identity, *header["identity"]} if identity.get(name) != header["identity"].get(name))
    if different:
        raise ArtifactError(
            f"the checkpoint `{path}` belongs to another training: {', '.join(different)} differ; "
            "use the same settings and data to continue it, or delete it to start afresh"
        )
    return Checkpoint(tensors, header["state"], header["identity"])


def optimizer_tensors(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """State of the optimiser as named tensors."""
    return {
        f"optimizer.{number}.{key}": value for number, entries in optimizer.state_dict()["state"].items() for key, value in entries.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """The inverse of `optimizer_tensors`; `tensors` by `<parameter>.<key>`."""
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        number, key = name.split(".", 1)
        state.setdefault(int(number), {})[key] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def random_tensors(device: torch.device) -> dict[str, Tensor]:
    """State of torch's generators: that of the CPU and that of the device."""
    states = {"random.cpu": torch.get_rng_state()}
    if device.type == "cuda":
        states["random.cuda"] = torch.cuda.get_rng_state(device)
    return states


def restore_random(states: Mapping[str, Tensor], device: torch.device) -> None:
    """The inverse of `random_tensors`."""
    torch.set_rng_state(states["cpu"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


def weights_of(model: nn.Module) -> dict[str, Tensor]:
    """A copy of the model's weights in main memory."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in model.state_dict().items()}
