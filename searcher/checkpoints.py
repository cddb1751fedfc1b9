"""Training states on disk: one safetensors file each, whole or absent, never unpickled."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from bhvit.errors import InvalidInput
from bhvit.whole_files import write_with
from searcher.records import EpochRecord
from searcher.schema import from_mapping

_MODEL, _OPTIMIZER = "model.", "optimizer."


@dataclass(frozen=True)
class TrainingState:
    """Where a training stands: `key` says which training it is, `history` has a record for every finished epoch.

    `restarts` counts how often a loss that was not finite has taken it back to its last finished epoch. The rest
    follows from these: learning rates from the epoch, random numbers from seed, epoch, step and restarts.
    """

    key: str
    history: tuple[EpochRecord, ...] = ()
    restarts: int = 0

    @property
    def best(self) -> EpochRecord | None:
        """The first of the epochs with the highest accuracy."""
        return max(self.history, key=lambda r: r.accuracy, default=None)


def save_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, state: TrainingState) -> None:
    """Write model, optimizer and state to one file, so that they can never disagree."""
    tensors = {_MODEL + name: t for name, t in model.state_dict().items()}
    names: dict[Tensor, str] = {parameter: name for name, parameter in model.named_parameters()}
    for parameter, values in optimizer.state.items():
        tensors |= {f"{_OPTIMIZER}{names[parameter]}.{key}": value for key, value in values.items()}
    write_tensors(path, tensors, {"state": json.dumps(dataclasses.asdict(state))})


def peek_state(path: Path) -> TrainingState:
    """The state in a file of `save_state` without its tensors; raises `InvalidInput` where the file is damaged."""
    try:
        with safe_open(path, framework="pt") as file:
            return _state(path, dict(file.metadata() or {}))
    except (OSError, SafetensorError) as error:
        raise damaged(path, error) from error


def stored_best(path: Path) -> int:
    """The epoch whose weights a best checkpoint holds; 0 where there is none."""
    return int(read_tensors(path)[1].get("epoch", 0)) if path.exists() else 0


def load_state(path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, key: str) -> TrainingState:
    """Read what `save_state` wrote into `model` and `optimizer`.

    Raises `InvalidInput` where the file is damaged or belongs to another training than `key`.
    """
    tensors, metadata = read_tensors(path)
    state = _state(path, metadata)
    if state.key != key:
        raise InvalidInput(
            f"{path} must continue the training {key}, but it is of {state.key} (another candidate, recipe, data set "
            "or seed); use another folder, or delete the file to train this phase again."
        )
    try:
        model.load_state_dict(_part(tensors, _MODEL))
        optimizer.load_state_dict(_optimizer_state(model, optimizer, _part(tensors, _OPTIMIZER)))
    except (RuntimeError, KeyError, ValueError) as error:
        raise damaged(path, error) from error
    return state


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write named tensors, copied to the CPU, with text metadata to `path`, whole or not at all."""
    copies = {name: t.detach().cpu().clone(memory_format=torch.contiguous_format) for name, t in tensors.items()}
    write_with(path, lambda temporary: save_file(copies, temporary, dict(metadata)))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and metadata in `path`; raises `InvalidInput` where it is not a whole safetensors file."""
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise damaged(path, error) from error


def damaged(path: Path, error: Exception) -> InvalidInput:
    """The error for a checkpoint that cannot be used."""
    reason = " ".join(str(error).split())[:200]
    remedy = "`searcher doctor STUDY --fix`, or delete it, to train this phase again"
    return InvalidInput(f"{path} must be a whole checkpoint, but {reason}; {remedy}.")


def _state(path: Path, metadata: Mapping[str, str]) -> TrainingState:
    try:
        return from_mapping(TrainingState, json.loads(metadata["state"]), "state")
    except (KeyError, ValueError) as error:
        raise damaged(path, error) from error


def _part(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def _optimizer_state(
    model: nn.Module, optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]
) -> dict[str, Any]:
    """Torch's form of an optimizer state, in which parameters are numbered in the order of their groups."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    order = [names[p] for group in optimizer.param_groups for p in group["params"]]
    number = {name: i for i, name in enumerate(order)}
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        parameter, _, key = name.rpartition(".")
        state.setdefault(number[parameter], {})[key] = tensor
    return {"state": state, "param_groups": optimizer.state_dict()["param_groups"]}
