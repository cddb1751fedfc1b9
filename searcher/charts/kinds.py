"""The kinds of figures that `plot` draws of a study, each with what a user can ask of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from bhvit.errors import InvalidInput
from bhvit.wording import listed
from searcher.charts.accuracy import front_figure, history_figure
from searcher.charts.chart import Figure
from searcher.charts.choices import importance_figure, map_figure, parallel_figure
from searcher.charts.costs import budget_figure
from searcher.charts.curves import MOST, TOP, curves_figure
from searcher.commonalities import best_count
from searcher.snapshot import StudySnapshot

KINDS: Mapping[str, str] = MappingProxyType(
    {
        "front": "accuracy against memory, OPs and latency where a device is known, with the Pareto front",
        "history": "accuracy by trial, with the best so far and what failed",
        "importance": "how much of the accuracy each variable explains",
        "parallel": "the choices of the best trials, variable by variable",
        "curves": "learning curves of the best trials, or of given ones",
        "map": "mean accuracy and share of the best for every layer and precision, of complete trials",
        "budget": "memory (and latency) against OPs of all that was tried, with the limits",
    }
)
OPTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"x": ("front",), "top": ("curves", "map", "parallel"), "trial": ("curves",)}
)


@dataclass(frozen=True)
class Request:
    """A kind of figure and its options, None where a user gives none; refuses options of other kinds."""

    kind: str
    x: str | None = None
    top: int | None = None
    trial: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        for name, kinds in OPTIONS.items():
            if getattr(self, name) is not None and self.kind not in kinds:
                raise InvalidInput(
                    f"--{name} is for --kind {listed(kinds, 'or')}, but the kind is {self.kind}; leave it out."
                )
        if self.top is not None and self.top < 1:
            raise InvalidInput(f"--top must be at least 1, but it is {self.top}.")
        asked = self.top if self.trial is None else len(set(self.trial))
        if self.kind == "curves" and asked is not None and asked > MOST:
            raise InvalidInput(f"--kind curves draws at most {MOST} trials, but {asked} are asked for; ask for fewer.")
        if self.top is not None and self.trial is not None:
            raise InvalidInput("--top and --trial both say which trials are drawn; leave one out.")


def figure_of(snapshot: StudySnapshot, request: Request) -> Figure:
    """What the request asks for, of these trials; raises `InvalidInput` where it names a trial that there is not."""
    count = len(snapshot.ranked)
    best = min(count, request.top) if request.top else best_count(count)
    match request.kind:
        case "front":
            return front_figure(snapshot, _asked(snapshot, request))
        case "history":
            return history_figure(snapshot)
        case "importance":
            return importance_figure(snapshot)
        case "parallel":
            return parallel_figure(snapshot, best)
        case "map":
            return map_figure(snapshot, request.top)
        case "budget":
            return budget_figure(snapshot)
    if request.trial is None:
        return curves_figure(snapshot, snapshot.ranked[: request.top or TOP])
    return curves_figure(snapshot, [snapshot.trial(number) for number in dict.fromkeys(request.trial)])


def _asked(snapshot: StudySnapshot, request: Request) -> tuple[str, ...]:
    """The costs that accuracy is drawn against: the one asked for, or all that are known."""
    known = snapshot.space.quantities
    if request.x is None:
        return known
    if request.x not in known:
        raise InvalidInput(f"--x {request.x} is predicted for a device, but the study names none; add --device NAME.")
    return (request.x,)
