"""The sampler inside real Optuna studies: never over budget, never twice, the same again from the same seed."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import optuna
import pytest

from bhvit.errors import InvalidInput
from searcher.feasible import FeasibleSet, feasible_set
from searcher.sampler import NEVER_TRAINED, FeasibleTPESampler, distributions
from searcher.space import Space
from tests.searcher.spaces import FAMILY_NAMES, small_space

State = optuna.trial.TrialState


@pytest.fixture(autouse=True)
def _quiet() -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)


def _budgeted(family: str = "bhvit") -> Space:
    free = small_space(family)
    memory = sorted(free.candidate(free.decode(i)).cost().memory_bytes for i in range(free.size))
    return small_space(family, budget={"memory": memory[17]})


def _study(space: Space, seed: int = 0, **options: Any) -> tuple[optuna.Study, FeasibleTPESampler]:
    sampler = FeasibleTPESampler(space, feasible_set(space), seed, **options)
    return optuna.create_study(direction="maximize", sampler=sampler), sampler


def _ask(study: optuna.Study, space: Space) -> optuna.Trial:
    return study.ask(distributions(space.variables))


def _accuracy(space: Space, trial: optuna.Trial) -> float:
    return sum(p * w for p, w in zip(space.digits_of(trial.params), (1, 2, 3, 4), strict=True))


@pytest.mark.parametrize("family", FAMILY_NAMES)
def test_every_feasible_configuration_is_proposed_once_and_no_other(family: str) -> None:
    space = _budgeted(family)
    study, sampler = _study(space)
    proposed = []
    while not sampler.exhausted(study):
        trial = _ask(study, space)
        proposed.append(space.encode(trial.params))
        study.tell(trial, _accuracy(space, trial))
    expected = [i for i in range(space.size) if not space.budget.violations(space.candidate(space.decode(i)).cost())]
    assert sorted(proposed) == expected
    with pytest.raises(InvalidInput, match=f"all {len(expected)} feasible configurations have been tried"):
        _ask(study, space)


@pytest.mark.parametrize("end", ["running", "failed", "pruned", "waiting"])
def test_trials_without_a_result_count_as_tried(end: str) -> None:
    space = _budgeted()
    study, sampler = _study(space)
    total = len(sampler.feasible)
    for row in sampler.feasible.codes[: total - 1]:
        study.enqueue_trial(space.choices_of(row))
        if end != "waiting":
            trial = _ask(study, space)
        if end in ("failed", "pruned"):
            study.tell(trial, state=State.FAIL if end == "failed" else State.PRUNED)
    assert not sampler.exhausted(study)
    last = sampler.sample_relative(study, _blank(total), {})
    assert space.digits_of(last) == tuple(sampler.feasible.codes[-1])


def _blank(number: int) -> optuna.trial.FrozenTrial:
    trial = optuna.trial.create_trial(state=State.RUNNING)
    trial.number = number
    return trial


def test_refused_trial_is_neither_tried_nor_evidence() -> None:
    space = _budgeted()
    study, sampler = _study(space)
    study.enqueue_trial(space.choices_of(sampler.feasible.codes[0]))
    trial = _ask(study, space)
    trial.set_user_attr(NEVER_TRAINED, True)
    study.tell(trial, state=State.FAIL)
    assert sampler.known_choices(study) == []


def test_same_seed_and_history_give_the_same_proposals() -> None:
    space = _budgeted()

    def proposals(seed: int) -> list[int]:
        study, _ = _study(space, seed)
        found = []
        for _ in range(12):
            trial = _ask(study, space)
            study.tell(trial, _accuracy(space, trial))
            found.append(space.encode(trial.params))
        return found

    assert proposals(3) == proposals(3)
    assert proposals(3) != proposals(4)


def test_interrupted_proposal_is_completed_as_it_was_begun() -> None:
    space = _budgeted()
    study, _ = _study(space, seed=5)
    whole = _ask(study, space).params
    study, _ = _study(space, seed=5)
    begun = study.ask()
    first = space.variables[0]
    begun.suggest_categorical(first.name, first.choices)
    again = optuna.trial.Trial(study, begun._trial_id)
    assert {v.name: again.suggest_categorical(v.name, v.choices) for v in space.variables} == whole


def test_learns_faster_than_random() -> None:
    space = small_space(
        widths={"hidden": {"choices": [1, 1.5, 2, 2.5, 3]}, "intermediate": {"choices": [1, 2, 3, 4, 5]}},
        precision={"groups": [{"layers": "downsample*", "tie": "each", "choices": ["binary", "int8", "fp16"]}]},
    )
    target = np.array([3, 1, 0, 2, 1])

    def best_distance(startup: int, seed: int) -> float:
        study, _ = _study(space, seed, startup=startup)
        for _ in range(30):
            trial = _ask(study, space)
            study.tell(trial, -float(np.abs(np.array(space.digits_of(trial.params)) - target).sum()))
        return -study.best_value

    learned = [best_distance(6, seed) for seed in range(8)]
    random = [best_distance(10**6, seed) for seed in range(8)]
    assert np.mean(learned) < 0.5 * np.mean(random)


@pytest.mark.parametrize("bad_state", [State.FAIL, State.PRUNED])
def test_failed_and_pruned_trials_repel(bad_state: optuna.trial.TrialState) -> None:
    space = small_space(
        widths={"hidden": {"choices": [1, 1.5, 2, 2.5, 3, 3.5, 4]}}, precision={}, search={"startup": 0}
    )
    study, _ = _study(space, startup=0)
    for factor in (1, 1.5, 3):
        study.enqueue_trial({"hidden": factor})
        trial = _ask(study, space)
        if factor == 3:
            study.tell(trial, 0.5)
        else:
            study.tell(trial, state=bad_state)
    assert _ask(study, space).params["hidden"] in (2.5, 3.5, 4)


def test_parameter_outside_the_space_is_refused() -> None:
    study, _ = _study(_budgeted())
    with pytest.raises(InvalidInput, match="'depth' is no variable of the space"):
        study.ask().suggest_int("depth", 1, 3)


def test_asking_among_a_hundred_thousand_takes_less_than_a_fifth_of_a_second() -> None:
    space = small_space(
        precision={"groups": [{"layers": "*", "tie": "each", "choices": ["binary", "int8"]}]},
        widths={"hidden": {"choices": [1, 2, 3]}},
    )
    codes = np.unique(np.random.default_rng(0).integers(0, 2, (100_000, len(space.variables)), np.uint8), axis=0)
    many = FeasibleSet(codes, np.zeros(len(codes)), np.zeros(len(codes)), space.size, len(codes))
    study = optuna.create_study(direction="maximize", sampler=FeasibleTPESampler(space, many))
    for _ in range(40):
        trial = _ask(study, space)
        study.tell(trial, float(sum(space.digits_of(trial.params))))
    start = time.perf_counter()
    for _ in range(3):
        study.tell(_ask(study, space), 1.0)
    assert (time.perf_counter() - start) / 3 < 0.2
