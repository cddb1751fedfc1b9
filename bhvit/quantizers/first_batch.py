"""Parameters that take their value from the first training batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn


class FirstBatch(nn.Module):
    """Remembers, across `state_dict` round trips, whether parameters have taken their value from a batch.

    Called with the initial values as a function and the parameters they belong to. The first call in training writes
    them; evaluation before that uses them for the batch at hand and writes nothing, so a fresh model can be evaluated
    without its result depending on a previous batch.
    """

    done: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("done", torch.zeros((), dtype=torch.bool))
        self._known_done = False  # spares a device synchronisation in every forward pass after the first

    def forward(self, training: bool, initial: Callable[[], tuple[Tensor, ...]], *parameters: nn.Parameter) -> Any:
        """The tensors to use: `parameters`, or before the first training batch the `initial()` values."""
        if not self.known_done():
            with torch.no_grad():
                values = initial()
                if training:
                    for parameter, value in zip(parameters, values, strict=True):
                        parameter.copy_(value)
                    self.done.fill_(True)
                    self._known_done = True
            if not training:
                parameters = values  # type: ignore[assignment]
        return parameters if len(parameters) > 1 else parameters[0]

    def known_done(self) -> bool:
        """Whether the parameters have been set, by a training batch or by a loaded state."""
        if not self._known_done:
            self._known_done = not self.done.is_meta and bool(self.done)
        return self._known_done

    def _load_from_state_dict(self, *args: Any, **kwargs: Any) -> None:
        self._known_done = False
        super()._load_from_state_dict(*args, **kwargs)


def all_done(model: nn.Module) -> bool:
    """Whether every parameter of `model` that takes its value from the first training batch has it."""
    done = [module.known_done() for module in model.modules() if isinstance(module, FirstBatch)]
    return all(done)
