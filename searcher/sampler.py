"""A sampler for Optuna that proposes only configurations within the budget, and none twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.samplers import BaseSampler
from optuna.trial import FrozenTrial, TrialState

from bhvit.errors import InvalidInput
from searcher.feasible import FeasibleSet
from searcher.grid import Codes
from searcher.parzen import DEFAULTS, ParzenSettings, acquisition, good_count
from searcher.space import Space
from searcher.variables import Variable

STARTUP = 4
NEVER_TRAINED = "never_trained"  # user attribute of trials that were refused before training; no evidence, not tried


def distributions(variables: Sequence[Variable]) -> dict[str, BaseDistribution]:
    """Optuna's names for the variables: every one categorical, so that its values are exactly the choices."""
    return {v.name: CategoricalDistribution(v.choices) for v in variables}


class FeasibleTPESampler(BaseSampler):
    """TPE's acquisition, maximised over every feasible configuration that has not been tried.

    The first `startup` proposals are drawn at random from the untried feasible set. Complete, pruned, failed, running
    and waiting (enqueued) trials all count as tried; failed ones as the worst, running ones as bad too (so that
    parallel proposals spread). Its randomness derives from (`seed`, trial number), so a restarted search goes on with
    the same proposals. `study` must have one direction, and trials only the space's variables.
    """

    def __init__(
        self,
        space: Space,
        feasible: FeasibleSet,
        seed: int = 0,
        startup: int | None = None,
        settings: ParzenSettings = DEFAULTS,
    ) -> None:
        self.space, self.feasible, self.seed, self.settings = space, feasible, seed, settings
        self.startup = STARTUP if startup is None else startup
        self._distributions = distributions(space.variables)

    def exhausted(self, study: Study) -> bool:
        """Whether every feasible configuration has been tried; ask before `study.ask`, which would have to fail."""
        trials = study.get_trials(deepcopy=False)
        return not self._untried(trials).any()

    def known_choices(self, study: Study) -> list[dict[str, Any]]:
        """Choices of every trial that stands for a configuration: finished, running or waiting."""
        return [dict(_choices(t)) for t in study.get_trials(deepcopy=False) if self._is_known(t)]

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """All variables, always: they are proposed together."""
        return self._distributions

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A choice for every variable; raises `InvalidInput` where nothing feasible is left."""
        if "fixed_params" in trial.system_attrs:
            return {}
        others = [t for t in study.get_trials(deepcopy=False) if t.number != trial.number]
        rows = np.flatnonzero(self._untried(others) & self._matching(trial.params))
        if not len(rows):
            raise InvalidInput(f"all {len(self.feasible)} feasible configurations have been tried; nothing is left.")
        # One draw a configuration, not one among `rows`: a proposal that was interrupted is then completed as begun.
        luck = np.random.default_rng([self.seed, trial.number]).random(len(self.feasible), np.float32)[rows]
        evidence = [t for t in others if self._is_evidence(t)]
        if len(evidence) >= self.startup:
            scores = self._scores(study, rows, evidence)
            luck[scores < scores.max()] = -1
        return self.space.choices_of(self.feasible.codes[rows[luck.argmax()]].tolist())

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """Refused: a parameter outside the space could not be costed."""
        raise InvalidInput(f"{param_name!r} is no variable of the space, or not with these choices.")

    def _scores(self, study: Study, rows: NDArray[np.intp], evidence: Sequence[FrozenTrial]) -> NDArray[np.float64]:
        finished = sorted((t for t in evidence if t.state.is_finished()), key=lambda t: _merit(study, t), reverse=True)
        running = [t for t in evidence if not t.state.is_finished()]
        count = good_count(len(finished), self.settings)
        good, bad = self._codes(finished[:count]), self._codes([*finished[count:], *running])
        return acquisition(self.space.variables, self.feasible.codes[rows], good, bad, self.settings)

    def _codes(self, trials: Sequence[FrozenTrial]) -> Codes:
        digits = [self.space.digits_of(_choices(t)) for t in trials]
        return np.array(digits, np.uint8).reshape(len(trials), len(self.space.variables))

    def _untried(self, trials: Sequence[FrozenTrial]) -> NDArray[np.bool_]:
        mask = np.ones(len(self.feasible), bool)
        for trial in trials:
            if self._is_known(trial):
                row = self.feasible.row_of(self.space.digits_of(_choices(trial)))
                if row is not None:
                    mask[row] = False
        return mask

    def _is_known(self, trial: FrozenTrial) -> bool:
        """Whether a trial stands for a configuration: not refused before training, and not still half asked for."""
        return NEVER_TRAINED not in trial.user_attrs and len(_choices(trial)) == len(self.space.variables)

    def _is_evidence(self, trial: FrozenTrial) -> bool:
        """Whether a trial says something about accuracy, or will."""
        return trial.state != TrialState.WAITING and self._is_known(trial)

    def _matching(self, params: Mapping[str, Any]) -> NDArray[np.bool_]:
        """Configurations that agree with parameters which an interrupted proposal has already stored."""
        mask = np.ones(len(self.feasible), bool)
        for column, variable in enumerate(self.space.variables):
            if variable.name in params:
                mask &= self.feasible.codes[:, column] == variable.digit_of(params[variable.name])
        return mask


def _choices(trial: FrozenTrial) -> Mapping[str, Any]:
    """Parameters of a trial, those still waiting to be taken up included."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _merit(study: Study, trial: FrozenTrial) -> tuple[float, float, float]:
    """Sorts trials from worst to best: failed, pruned by how far they came, complete by value."""
    sign = 1 if study.direction.name == "MAXIMIZE" else -1
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return (2, sign * trial.value, -trial.number)
    step = trial.last_step
    if trial.state == TrialState.PRUNED and step is not None:
        return (1, step, sign * trial.intermediate_values[step])
    return (0, 0, -trial.number)
