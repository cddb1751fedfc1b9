"""Two trials, of one study or of two: what differs in widths, precisions, cost and result; no rich, no torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

from bhvit.cost import CostReport, LayerCost
from bhvit.errors import InvalidInput
from bhvit.precision import Precision
from searcher.charts.chart import ACCURACY, Chart, Form, Role, Series
from searcher.charts.curves import EPOCHS
from searcher.quantities import QUANTITIES
from searcher.records import TrialRecord
from searcher.snapshot import StudySnapshot


@dataclass(frozen=True)
class Side:
    """One of the two trials, in its study."""

    snapshot: StudySnapshot
    record: TrialRecord

    @cached_property
    def layers(self) -> dict[str, Precision]:
        """Layer address -> precision."""
        return self.record.candidate.layers

    @cached_property
    def shape(self) -> dict[str, Any]:
        """Everything of the candidate but its precisions, by name; one value a stage where it has stages."""
        data = self.record.candidate.to_json()
        architecture, stages = dict(data["architecture"]), data["architecture"]["stages"]
        del architecture["stages"]
        by_stage = {name: tuple(stage[name] for stage in stages) for name in stages[0]}
        return {"family": data["family"], **by_stage, **architecture, "norm": data["norm"], "recu": data["recu"]}

    @cached_property
    def shares(self) -> dict[str, float]:
        """Quantity -> how much of its study's limit it uses."""
        return self.snapshot.budget.shares(self.record)


@dataclass(frozen=True)
class LayerChange:
    """A layer whose precision or cost differs; None where the other network has no such layer."""

    address: str
    before: LayerCost | None
    after: LayerCost | None


@dataclass(frozen=True)
class TrialDiff:
    """What differs from `before` to `after`. Costs are in the accounting, on the device, of the first one's study."""

    before: Side
    after: Side

    def __post_init__(self) -> None:
        here, there = (side.snapshot.folder.path.resolve() for side in (self.before, self.after))
        if here == there and self.before.record.number == self.after.record.number:
            raise InvalidInput(
                f"diff takes two different trials, but both are trial {self.before.record.number} of {here.name}."
            )

    @property
    def sides(self) -> tuple[Side, Side]:
        """Before and after."""
        return self.before, self.after

    @property
    def accounting(self) -> str:
        """What the costs count."""
        return self.before.snapshot.budget.accounting

    @property
    def quantities(self) -> tuple[str, ...]:
        """What costs are known of."""
        return self.before.snapshot.space.quantities

    @cached_property
    def costs(self) -> tuple[CostReport, CostReport]:
        """Costs of both, layer by layer."""
        space = self.before.snapshot.space
        before, after = (space.cost_of(side.record.candidate) for side in self.sides)
        return before, after

    @property
    def accuracies(self) -> tuple[float, float] | None:
        """Validation Top-1 (0..1) of both; None where one has none."""
        before, after = self.before.record.metrics, self.after.record.metrics
        return None if before is None or after is None else (before.accuracy, after.accuracy)

    @cached_property
    def shapes(self) -> tuple[tuple[str, Any, Any], ...]:
        """Facts of the architectures that differ (`embed_dims`, `depths`, `norm`, ...), before and after."""
        before, after = (side.shape for side in self.sides)
        names = dict.fromkeys([*before, *after])
        return tuple((name, before.get(name), after.get(name)) for name in names if before.get(name) != after.get(name))

    @cached_property
    def precisions(self) -> dict[str, tuple[Precision | None, Precision | None]]:
        """Layer address -> precision before and after, for all layers of both."""
        addresses = dict.fromkeys([*self.before.layers, *self.after.layers])
        return {a: (self.before.layers.get(a), self.after.layers.get(a)) for a in addresses}

    @cached_property
    def layers(self) -> tuple[LayerChange, ...]:
        """The layers, stem and head among them, whose precision or cost differs."""
        before, after = ({row.address: row for row in report.layers} for report in self.costs)
        changes = (LayerChange(a, before.get(a), after.get(a)) for a in dict.fromkeys([*before, *after]))
        return tuple(change for change in changes if _facts(change.before) != _facts(change.after))

    @property
    def curves(self) -> Chart | None:
        """Validation accuracy of both by epoch of phase 2; None where one has no epochs."""
        series = []
        for index, side in enumerate(self.sides):
            metrics = side.record.metrics
            epochs = [e for e in metrics.epochs if e.phase == "qat"] if metrics is not None else []
            if not epochs:
                return None
            xs, ys = tuple(float(e.epoch) for e in epochs), tuple(e.accuracy for e in epochs)
            series.append(Series(f"trial {side.record.number}", Role.RANK, xs, ys, Form.LINE, index=index))
        return Chart("", EPOCHS, ACCURACY, tuple(series))


def _facts(row: LayerCost | None) -> tuple[Any, ...] | None:
    return None if row is None else (row.precision, *(quantity.of(row) for quantity in QUANTITIES.values()))
