"""Other people's studies of Optuna: a list, and one of them with its feasible trials, the best first."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from searcher.optuna_studies import OptunaStudy, OptunaTrial, TrialState
from searcher.records import Outcome
from searcher.views.console import plain_rows, table
from searcher.views.marks import BEYOND, FRONT, OUTCOMES
from searcher.views.studies import FAILURE, WIDE, ago_text, counts_text

MARKS = {
    TrialState.COMPLETE: OUTCOMES[Outcome.COMPLETE],
    TrialState.PRUNED: OUTCOMES[Outcome.STOPPED],
    TrialState.FAIL: FAILURE,
    TrialState.RUNNING: OUTCOMES[Outcome.RUNNING],
    TrialState.WAITING: OUTCOMES[Outcome.WAITING],
}
NAMED = 4  # parameters named in the list


def optuna_list(studies: Sequence[OptunaStudy], width: int) -> RenderableType:
    """The studies in the given order; `width` is the terminal's."""
    if not sys.stdout.isatty():
        return _plain_list(studies)
    one_line = width >= WIDE
    head = ("Optuna study", "storage") if one_line else ("Optuna study",)
    counts = ("trials", "states") if one_line else ("trials",)
    result = table(*head, *counts, "objective", "best feasible", "parameters", ("last sign", "right"))
    result.columns[-3].no_wrap = True  # the parameters give way
    between = ", " if one_line else "\n"
    for study in studies:
        name, place = Text(study.name, style="bold"), Text(study.place, style="dim")
        states, number = _states(study), f"{len(study.trials):,}"
        result.add_row(
            *((name, place) if one_line else (Text.assemble(name, "\n", place),)),
            *((number, states) if one_line else (Text.assemble(number, "\n", states),)),
            between.join(_directions(study)),
            between.join(filter(None, _best(study))),
            _named(study.parameters),
            ago_text(study.active),
        )
    return Group(result, "", _legend())


def optuna_summary(study: OptunaStudy) -> dict[str, Any]:
    """A study as plain data, without its trials."""
    best = study.best
    return {
        "study": study.name,
        "storage": study.place,
        "directions": list(_directions(study)),
        "states": study.counts,
        "constrained": study.constrained,
        "feasible": len(study.feasible),
        "best": best and {"trial": best.number, "values": _finite(best.values)},
        "front": [trial.number for trial in study.front] if len(study.maximize) > 1 else [],
        "parameters": list(study.parameters),
        "last_sign": study.active,
    }


def optuna_json(study: OptunaStudy) -> dict[str, Any]:
    """A study with all its trials; `ranking` lists the feasible ones, best first. Infinite values are null."""
    trials = [
        {
            "trial": t.number,
            "state": t.state.value,
            "values": _finite(t.values),
            "params": {key: v if not isinstance(v, float) else _finite((v,))[0] for key, v in t.params.items()},
            "constraints": dict(zip(t.constraints, _finite(tuple(t.constraints.values())), strict=True)),
            "feasible": t.state is TrialState.COMPLETE and not t.violated,
            "started": t.started,
            "ended": t.ended,
        }
        for t in study.trials
    ]
    return {**optuna_summary(study), "ranking": [t.number for t in study.ranked], "trials": trials}


def optuna_view(study: OptunaStudy, top: int, width: int) -> RenderableType:
    """Header and the `top` best feasible trials; with several objectives those of the front first.

    A parameter is a column where all of them fit into `width` columns, and in a pipe; else they share one.
    """
    several = len(study.maximize) > 1
    parts: list[RenderableType] = [*_head(study), ""]
    shown = study.ranked[:top]
    if not shown:
        return Group(*parts, "No complete trial is feasible yet.")
    parts.append(_plain_trials(study, shown) if not sys.stdout.isatty() else _trials(study, shown, width))
    if len(study.ranked) > len(shown):
        parts.append(Text(f"... and {len(study.ranked) - top:,} more: --top {len(study.ranked)}", style="dim"))
    if several:
        front = FRONT.text(f"on the Pareto front: {len(study.front):,} of {len(study.feasible):,} feasible trials")
        parts += ["", front]
    return Group(*parts)


def _plain_trials(study: OptunaStudy, shown: Sequence[OptunaTrial]) -> RenderableType:
    values, parameters = _value_names(study), _parameters(study, shown)
    rows = [
        (
            _place(rank, trial, study).plain,
            str(trial.number),
            *map(_number, trial.values),
            *(_parameter(trial, name) for name in parameters),
        )
        for rank, trial in enumerate(shown, 1)
    ]
    return plain_rows(("#", "trial", *values, *parameters), rows, range(2 + len(values)))


def _trials(study: OptunaStudy, shown: Sequence[OptunaTrial], width: int) -> Table:
    values, parameters = _value_names(study), _parameters(study, shown)
    cells = [[_parameter(trial, name) for name in parameters] for trial in shown]
    figures = [[str(trial.number), *map(_number, trial.values)] for trial in shown]
    heads = ["trial", *values, *parameters]
    columns = zip(heads, *(a + b for a, b in zip(figures, cells, strict=True)), strict=True)
    fits = len(str(len(shown))) + sum(2 + max(map(cell_len, column)) for column in columns) <= width
    right = [(name, "right") for name in ("#", "trial", *values)]
    result = table(*right, *(parameters if fits else ["parameters"]))
    for rank, (trial, first, last) in enumerate(zip(shown, figures, cells, strict=True), 1):
        together = ", ".join(f"{name}={text}" for name, text in zip(parameters, last, strict=True) if text)
        result.add_row(_place(rank, trial, study), *first, *(last if fits else [together]))
    return result


def _parameters(study: OptunaStudy, shown: Sequence[OptunaTrial]) -> list[str]:
    return [name for name in study.parameters if any(name in trial.params for trial in shown)]


def _head(study: OptunaStudy) -> list[RenderableType]:
    states = ", ".join(f"{n:,} {state}" for state, n in study.counts.items()) or "none yet"
    lines: list[RenderableType] = [
        Text.assemble((study.name, "bold"), f": a study of Optuna in {study.place}"),
        f"objective: {_objectives(study)}",
        f"trials: {states}; last sign of life {ago_text(study.active) or 'never'}",
    ]
    if study.constrained:
        lines.append(f"constraints: {len(study.feasible):,} of {len(study.complete):,} complete trials are feasible")
        names = {name for trial in study.complete for name in trial.constraints}
        often = {name: sum(name in trial.violated for trial in study.complete) for name in sorted(names)}
        said = [f"{f'constraint {name}' if name.isdigit() else name} in {n:,}" for name, n in often.items() if n]
        if said:
            lines.append(BEYOND.text(f"violated: {', '.join(said)}"))
    return lines


def _place(rank: int, trial: OptunaTrial, study: OptunaStudy) -> Text:
    """The rank, or with several objectives whether the trial is on the front."""
    if len(study.maximize) == 1:
        return Text(str(rank))
    return FRONT.text() if trial in study.front else Text()


def _plain_list(studies: Sequence[OptunaStudy]) -> RenderableType:
    states = tuple(MARKS)
    rows = [
        (
            study.name,
            study.place,
            *(str(study.counts.get(state.value, 0)) for state in states),
            ",".join(_directions(study)),
            str(len(study.feasible)),
            _best(study)[0],
            ",".join(study.parameters),
            ago_text(study.active),
        )
        for study in studies
    ]
    head = ("study", "storage", *states, "objective", "feasible", "best", "parameters", "last_sign")
    return plain_rows(head, rows, {*range(2, 2 + len(states)), head.index("feasible")})


def _directions(study: OptunaStudy) -> tuple[str, ...]:
    return tuple("maximize" if up else "minimize" for up in study.maximize)


def _objectives(study: OptunaStudy) -> str:
    directions = _directions(study)
    return directions[0] if len(directions) == 1 else ", ".join(f"{i} {text}" for i, text in enumerate(directions))


def _best(study: OptunaStudy) -> tuple[str, str]:
    """The best value, or the size of the front; and how many trials are feasible, where there are constraints."""
    feasible = f"{len(study.feasible):,} of {len(study.complete):,} feasible" if study.constrained else ""
    if study.best is not None:
        return f"{_number(study.best.values[0])} (trial {study.best.number})", feasible
    if study.feasible:
        return f"front of {len(study.front):,}", feasible
    return ("none" if study.complete else ""), feasible


def _states(study: OptunaStudy) -> Text:
    return counts_text([(mark, study.counts.get(state.value, 0)) for state, mark in MARKS.items()])


def _legend() -> Text:
    return Text("  ").join(mark.text(state.value) for state, mark in MARKS.items())


def _named(parameters: Sequence[str]) -> str:
    more = f" and {len(parameters) - NAMED} more" if len(parameters) > NAMED else ""
    return ", ".join(parameters[:NAMED]) + more


def _value_names(study: OptunaStudy) -> list[str]:
    """Headings of the values: Optuna's objectives have numbers, no names."""
    if len(study.maximize) == 1:
        return ["value"]
    return [f"{'max' if up else 'min'} {i}" for i, up in enumerate(study.maximize)]


def _number(value: float) -> str:
    return f"{value:.6g}"


def _parameter(trial: OptunaTrial, name: str) -> str:
    """The value, empty where the trial has no such parameter."""
    value = trial.params.get(name, "")
    return _number(value) if isinstance(value, float) else str(value)


def _finite(values: Sequence[float]) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values]
