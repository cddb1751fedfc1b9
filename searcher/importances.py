"""What the accuracy of a study's trials depends on: an additive model of the variables; no torch, no optuna, no rich.

accuracy = mean + sum over variables of effect[variable][choice], fitted by ridge regression on indicator columns. The
penalty is the one that predicts left-out trials best. A variable's importance is the variance of its effects over the
trials, as a share of the variance of the accuracies: the first order of a functional ANOVA (Hutter et al., ICML 2014,
section 3) with an additive model in place of their forest, which a few dozen trials cannot feed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bhvit.errors import InvalidInput
from bhvit.wording import plural
from searcher.evidence import Digits
from searcher.numbers import share_text
from searcher.ranking import metrics_of
from searcher.records import Outcome, TrialRecord
from searcher.space import Space
from searcher.variables import Choice, Variable

SLIGHT = 0.02  # of the variance: variables below it share a line
LEARNED = 0.1  # of the variance of trials left out: a fit that foretells less has learned nothing
FEW = 10  # complete trials below which nothing is said
PENALTIES = (0.3, 1.0, 3.0, 10.0, 30.0, 100.0)  # in trials: a choice seen that often is believed by half
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Importance:
    """One variable: its `share` (0..1) of the variance of accuracy, and what its choices do.

    `effect` is the accuracy (0..1) that `best` brings over `worst`, of the choices that were tried; `direction` is 1
    where accuracy rises with widths or bits throughout, -1 where it falls, 0 where neither.
    """

    variable: str
    share: float
    best: Choice
    worst: Choice
    effect: float
    direction: int

    @property
    def words(self) -> str:
        """What its choices do: `int8 over binary: +3.0 points, the more bits the better`."""
        bits = isinstance(self.best, str)
        trend = {1: "more bits" if bits else "wider", -1: "fewer bits" if bits else "narrower"}.get(self.direction)
        best, worst = (c if isinstance(c, str) else f"{c:g}" for c in (self.best, self.worst))
        points = f"{best} over {worst}: {100 * self.effect:+.1f} points"
        return f"{points}, the {trend} the better" if trend else points


@dataclass(frozen=True)
class Importances:
    """Variables by falling importance, from `trials` complete trials.

    `explained` is the cross-validated R²: the share of the variance of left-out trials that the model foretells
    (every trial left out once); at or below 0 it has learned nothing.
    """

    trials: int
    explained: float
    variables: tuple[Importance, ...]

    @property
    def learned(self) -> bool:
        """Whether the fit foretells enough to be believed."""
        return self.explained >= LEARNED

    @property
    def telling(self) -> list[Importance]:
        """The variables whose share is worth a line."""
        return [v for v in self.variables if v.share >= SLIGHT]

    @property
    def words(self) -> str:
        """How far to believe it, in sentences."""
        foretold = f"{share_text(max(self.explained, 0.0))} of the variance of trials left out"
        model = f"additive model of {self.trials:,} complete trials"
        if not self.learned:
            return f"Nothing was learned: an {model} foretells {foretold}."
        others = len(self.variables) - len(self.telling)
        rest = f"{others} {'other ' if self.telling else ''}{plural('variable', others)}"
        each = f"{'have' if others > 1 else 'has'} less than {100 * SLIGHT:.0f} %{' each' if others > 1 else ''}"
        return f"{f'{rest} {each}. ' if others else ''}Shares are of an {model}, which foretells {foretold}."


def importances(space: Space, records: Sequence[TrialRecord]) -> Importances | None:
    """Importances from the complete trials, whatever the budget; None where they are fewer than `FEW` or all equal.

    The accuracy of a stopped trial is that of a shorter training: it would count as an effect of its choices.
    Variables of which a single choice was tried are left out. What a variable that some models lack explains is counted
    within the models that have it: how these differ from the others is the effect of the model.
    """
    trained = [r for r in records if r.outcome is Outcome.COMPLETE]
    if len(trained) < FEW:
        return None
    accuracy = np.array([metrics_of(r).accuracy for r in trained])
    codes = codes_of(space, trained)
    tried = [i for i, v in enumerate(space.variables) if len(set(codes[:, i].tolist()) - {v.inactive}) > 1]
    if not tried or np.ptp(accuracy) == 0:
        return None
    columns = [_indicators(codes[:, i], space.variables[i]) for i in tried]
    weights, explained = _ridge(np.concatenate(columns, axis=1), accuracy)
    ends = np.cumsum([part.shape[1] for part in columns])[:-1]
    found = [
        _importance(space.variables[i], part, effects, float(accuracy.var()))
        for i, part, effects in zip(tried, columns, np.split(weights, ends), strict=True)
    ]
    return Importances(len(trained), explained, tuple(sorted(found, key=lambda v: -v.share)))


def codes_of(space: Space, records: Sequence[TrialRecord]) -> NDArray[np.intp]:
    """Digit of each variable, `records x variables`; raises `InvalidInput` for choices of another space."""
    if space.mixed:
        return np.array(_digits(space, records), np.intp).reshape(len(records), len(space.variables))
    codes = np.empty((len(records), len(space.variables)), np.intp)
    for column, variable in enumerate(space.variables):
        digit_of = {choice: digit for digit, choice in enumerate(variable.choices)}
        try:
            codes[:, column] = [digit_of[record.choices[variable.name]] for record in records]
        except (KeyError, TypeError):
            _digits(space, records)  # says which trial it is
            raise
    return codes


def _digits(space: Space, records: Sequence[TrialRecord]) -> list[Digits]:
    """The digits of each record; an error says which trial's choices are not of this space."""
    found = []
    for record in records:
        try:
            found.append(space.digits_of(record.choices))
        except InvalidInput as error:
            raise InvalidInput(f"trial {record.number}: {error}") from error
    return found


def _indicators(codes: NDArray[np.intp], variable: Variable) -> Floats:
    """`trials x choices`: 1 where the trial has the choice; less the mean, where only some trials have the variable."""
    columns = np.asarray(codes[:, None] == np.arange(len(variable.choices)), np.float64)
    active = codes != variable.inactive
    if not active.all():
        columns[active] -= columns[active].mean(axis=0)
    return columns


def _ridge(columns: Floats, target: Floats) -> tuple[Floats, float]:
    """Weights of the columns, and the R² of predictions of each row from all others; the penalty that makes it highest.

    Left-out residuals are those of the fit divided by 1 - leverage (Allen's PRESS), exact for ridge regression.
    """
    count = len(target)
    centred, residual = columns - columns.mean(axis=0), target - target.mean()
    eigenvalues, vectors = np.linalg.eigh(centred.T @ centred)
    keep = eigenvalues > 1e-9 * count
    eigenvalues, vectors = eigenvalues[keep], vectors[:, keep]
    scores = centred @ vectors
    projected = scores.T @ residual
    total = float(((residual * count / (count - 1)) ** 2).sum())
    best: tuple[float, Floats] | None = None
    for penalty in PENALTIES:
        shrunk = 1 / (eigenvalues + penalty)
        leverage = 1 / count + (scores**2) @ shrunk
        left_out = (residual - scores @ (shrunk * projected)) / (1 - leverage)
        explained = 1 - float((left_out**2).sum()) / total
        if best is None or explained > best[0]:
            best = explained, vectors @ (shrunk * projected)
    assert best is not None
    return best[1], best[0]


def _importance(variable: Variable, columns: Floats, effects: Floats, variance: float) -> Importance:
    tried = np.flatnonzero(columns.any(axis=0))
    ordered = tried[np.argsort(np.array(variable.positions)[tried], kind="stable")]
    steps = np.diff(effects[ordered]) if variable.ordinal else np.zeros(1)
    best, worst = tried[effects[tried].argmax()], tried[effects[tried].argmin()]
    return Importance(
        variable.name,
        float((columns @ effects).var()) / variance,
        variable.choices[best],
        variable.choices[worst],
        float(effects[best] - effects[worst]),
        int((steps > 0).all()) - int((steps < 0).all()),
    )
