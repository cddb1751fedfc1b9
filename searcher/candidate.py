"""A point of the search: an architecture with a precision for each of its layers."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bhvit.cost import CostReport, price_layers
from bhvit.device_profile import DeviceProfile
from bhvit.errors import InvalidInput
from bhvit.families import family_named
from bhvit.precision import Precision, PrecisionPlan, precision_named
from bhvit.staged import Architecture
from searcher.schema import from_mapping


@dataclass(frozen=True)
class Candidate:
    """What is trained and costed: family, architecture, precision plan and the two choices of the model's form.

    `norm` is `batch` or `layer`; `recu` switches ReCU in binary layers, which a family may not have (`recu_of`); left
    out, they are the family's own (the first of `Architecture.norms`, what its released training does). Two candidates
    whose plans resolve to the same precisions have the same `id`, however the plans were written.
    """

    family: str
    architecture: Architecture
    plan: PrecisionPlan
    norm: str = None  # type: ignore[assignment]  # set by __post_init__
    recu: bool = None  # type: ignore[assignment]  # likewise

    def __post_init__(self) -> None:
        family_named(self.family)
        if self.norm is None:
            object.__setattr__(self, "norm", self.architecture.norms[0])
        object.__setattr__(self, "recu", self.architecture.recu_of(self.recu))
        self.architecture.require_norm(self.norm)

    @cached_property
    def layers(self) -> dict[str, Precision]:
        """Layer address -> precision."""
        return self.architecture.layers_of(self.plan)

    @cached_property
    def id(self) -> str:
        """Ten hexadecimal digits of a hash of the canonical JSON: names the trial, its folder and its cache."""
        return _digest(self.to_json())

    @cached_property
    def parent(self) -> Candidate:
        """The full-precision model of the same widths that the candidate starts from (always of residual form)."""
        architecture = self.architecture.full_precision()
        return dataclasses.replace(self, architecture=architecture, plan=PrecisionPlan.uniform("fp32"))

    def cost(self, accounting: str = "reported", device: DeviceProfile | None = None) -> CostReport:
        """Per-layer and total cost, with the latency predicted for a device; `accounting` as in `bhvit.cost_of`."""
        family = family_named(self.family)
        seconds_of = None if device is None else family.seconds_of(self.architecture, device)
        return price_layers(self.architecture, self.layers, family.layer_terms, accounting, self.norm, seconds_of)

    def to_json(self) -> dict[str, Any]:
        """Canonical plain data: equal candidates give equal data."""
        return {
            "family": self.family,
            "architecture": self.architecture.to_json(),
            "layers": {address: p.name for address, p in self.layers.items()},
            "norm": self.norm,
            "recu": self.recu,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Candidate:
        """The inverse of `to_json`; raises `InvalidInput` where the data is not a candidate."""
        try:
            family = family_named(data["family"])
            architecture = from_mapping(family.config, data["architecture"], "architecture")
            layers = {address: precision_named(name) for address, name in data["layers"].items()}
            candidate = cls(family.name, architecture, PrecisionPlan.of_layers(layers), data["norm"], data["recu"])
        except (KeyError, TypeError, AttributeError) as error:
            raise InvalidInput(f"not a stored candidate: {type(error).__name__} {error}.") from error
        if tuple(layers) != architecture.addresses:
            raise InvalidInput("not a stored candidate: its layers are not those of its architecture.")
        return candidate


def _digest(data: Any) -> str:
    text = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]
