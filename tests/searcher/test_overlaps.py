"""Models of one study that have candidates in common: each candidate once, against brute force over candidate ids."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from bhvit.errors import InvalidInput
from bhvit.families import FAMILIES
from searcher import feasible
from searcher.coordinator import Ended, SearchSummary, run_search
from searcher.executors.threads import ThreadExecutor
from searcher.feasible import FeasibleSet, feasible_set, profile
from searcher.grid import Grid
from searcher.overlaps import Overlaps
from searcher.records import Outcome
from searcher.snapshot import State, snapshot_of
from searcher.space import Space, parse_space
from searcher.study_folder import StudyFolder
from tests.searcher.architectures import model_of, small_architecture
from tests.searcher.fake_training import fake_train
from tests.searcher.records import record_of, store
from tests.searcher.screens import screen
from tests.searcher.spaces import FAMILY_NAMES, mixed_models, mixed_space

FAMILY = FAMILY_NAMES[0]
SMALL = small_architecture(FAMILY, 32)
DEFAULTS = ("binary", "binary", "fp16")


def _some(*choices: Any) -> st.SearchStrategy[list[Any]]:
    """Some of them, in any order."""
    return st.lists(st.sampled_from(choices), min_size=1, max_size=len(choices), unique=True)


WIDTH = st.fixed_dictionaries({"choices": _some(1, 2, 4), "per_stage": st.booleans()})
GROUP = st.fixed_dictionaries(
    {
        "layers": st.sampled_from(("*", "downsample*", "stage0.*", "stage[12].*", "*1*", "stage3.*")),
        "choices": _some("binary", "fp16", "int8"),
        "tie": st.sampled_from(("all", "stage")),
    }
)


@st.composite
def _alternative(draw: st.DrawFn, family: str) -> dict[str, Any]:
    """A model of a family: of either width, with widths of its own, together or stage by stage, and groups."""
    widths = draw(st.fixed_dictionaries({}, optional={"hidden": WIDTH, "intermediate": WIDTH}))
    groups = draw(st.lists(GROUP, max_size=2, unique_by=lambda group: str(group["layers"])))
    small, norms = small_architecture(family, 32), FAMILIES[family].config.norms
    base, default = draw(st.sampled_from((small, small, small.scaled(2)))), draw(st.sampled_from(DEFAULTS))
    norm = draw(st.sampled_from((norms[0], norms[0], norms[-1])))
    precision = {"default": default, "groups": groups}
    return {**model_of(base, family), "norm": norm, "widths": widths, "precision": precision}


@st.composite
def _spaces(draw: st.DrawFn) -> Space:
    """Two to four models of one family under a budget that some of their configurations are over."""
    models = draw(st.lists(_alternative(draw(st.sampled_from(FAMILY_NAMES))), min_size=2, max_size=4))
    named = [{**model, "name": f"m{i}"} for i, model in enumerate(models)]
    try:
        free = parse_space({"model": named}, "free")
    except InvalidInput:  # the same model twice, or groups that overlap
        assume(False)
    assume(free.size < 300)
    costs = sorted(free.candidate(free.decode(i)).cost().memory_bytes for i in range(free.size))
    return parse_space({"model": named, "budget": {"memory": costs[draw(st.integers(0, free.size - 1))]}}, "drawn")


def _first_of_each(space: Space) -> dict[str, int]:
    """Id of every candidate -> the first configuration that stands for it."""
    first: dict[str, int] = {}
    for index in range(space.size):
        first.setdefault(space.candidate(space.decode(index)).id, index)
    return first


def _indices(space: Space, found: FeasibleSet) -> list[int]:
    return [space.encode(space.choices_of(row)) for row in found.codes.tolist()]


@settings(max_examples=100, deadline=None)
@given(_spaces())
def test_every_candidate_within_the_budget_is_in_the_feasible_set_once(space: Space) -> None:
    first = _first_of_each(space)
    every = [space.candidate(space.decode(i)) for i in range(space.size)]
    within = [i for i, candidate in enumerate(every) if not space.budget.violations(candidate.cost().total)]
    found, counted = feasible_set(space), profile(space)
    assert _indices(space, found) == [i for i in within if first[every[i].id] == i]
    assert found.memory_bytes.tolist() == [every[i].cost().memory_bytes for i in _indices(space, found)]
    assert (counted.feasible, counted.repeated) == (len(within), len(within) - len(found))
    assert (found.repeated, found.share) == (counted.repeated, counted.share)
    assert sum(own.repeated for own in counted.models.values()) == counted.repeated
    codes = np.array([space.digits_of(space.decode(i)) for i in range(space.size)], np.uint8)
    firsts = [space.digits_of(space.decode(first[candidate.id])) for candidate in every]
    overlaps = Overlaps(space)
    assert overlaps.first(codes).tolist() == [list(digits) for digits in firsts]
    assert [overlaps.first_digits(digits) for digits in codes.tolist()] == firsts
    assert bool(overlaps) == (len(first) < space.size)


@settings(max_examples=30, deadline=None)
@given(_spaces(), st.integers(1, 20))
def test_every_candidate_of_a_sample_is_in_it_once(space: Space, sample: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(feasible, "ENUMERABLE", 1)
        patch.setattr(feasible, "SAMPLE", sample)
        found = feasible_set(space)
        blocks = [block.codes[feasible.within(space, block)] for block in feasible.examined_blocks(space)]
    indices = _indices(space, found)
    assert indices == sorted(set(indices))
    first = _first_of_each(space)
    assert all(first[space.candidate(space.decode(i)).id] == i for i in indices)
    examined = np.concatenate(blocks).tolist()
    ids = {space.candidate(space.choices_of(digits)).id for digits in examined}
    assert {space.candidate(space.decode(i)).id for i in indices} == ids
    assert len(examined) == len(found) + found.repeated


def test_what_three_models_have_is_the_first_ones() -> None:
    one = {**model_of(SMALL, FAMILY), "precision": {"default": "binary"}}
    groups = [{"layers": layers, "choices": ["binary", "fp16"]} for layers in ("stage0.*", "stage1.*")]
    precisions = [{"default": "binary", "groups": own} for own in ([], groups[:1], groups)]
    models = [{**one, "name": f"m{i}", "precision": own} for i, own in enumerate(precisions)]
    space = parse_space({"model": models}, "three")
    found = feasible_set(space)
    assert [space.choices_of(row)["model"] for row in found.codes.tolist()] == ["m0", "m1", "m2", "m2"]
    last = space.digits_of(space.complete({"model": "m2"}))
    assert Overlaps(space).first_digits(last) == space.digits_of({"model": "m0"})


def test_models_that_differ_in_more_than_widths_and_precisions_have_nothing_in_common() -> None:
    space = mixed_space(*(model["name"] for model in mixed_models()))
    assert not Overlaps(space)
    (block, *_) = Grid(space).blocks()
    assert Overlaps(space).first(block.codes) is block.codes


def _two(default: str = "binary", **sections: Any) -> Space:
    """Two models of 2 configurations each; the one whose layers all have the default is of both."""
    groups = [{"layers": layers, "choices": ["binary", "fp16"]} for layers in ("downsample*", "stage0.*")]
    models = [
        {**model_of(SMALL, FAMILY), "name": name, "precision": {"default": default, "groups": [group]}}
        for name, group in zip("ab", groups, strict=True)
    ]
    return parse_space({"model": models, **sections}, "two")


def _search(space: Space, folder: Path) -> SearchSummary:
    return run_search(space, folder, ThreadExecutor(fake_train, space.search.workers))


@pytest.mark.parametrize("enqueue", [[], [{"model": "b"}, {"model": "a"}], [{"model": "b"}]])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_search_trains_what_two_models_have_in_common_once_and_ends(
    workers: int, enqueue: list[dict[str, str]], in_memory: Path
) -> None:
    space = _two(search={"trials": 9, "workers": workers, "pruner": "none"}, enqueue=enqueue)
    summary = _search(space, in_memory / "two")
    assert (summary.ended, summary.trained, summary.feasible) == (Ended.EXHAUSTED, 3, 3)
    assert len({record.candidate.id for record in summary.records}) == 3
    both = [record.choices for record in summary.records if "fp16" not in record.choices.values()]
    assert both == [{"model": "b", "stage0.*": "binary"} if enqueue else {"model": "a", "downsample*": "binary"}]
    assert not enqueue or summary.records[0].choices == both[0]
    again = _search(space, in_memory / "two")
    assert (again.ended, len(again.records)) == (Ended.EXHAUSTED, 3)
    study = snapshot_of(StudyFolder(in_memory / "two"))
    assert (study.state, study.goal, study.feasible, study.repeated) == (State.DONE, 3, 4, 1)
    shown = " ".join(screen("show", str(in_memory / "two"), tty=False, width=200).split())
    assert "4 configurations, 4 within the budget (100.0 %), 3 of them different" in shown


def test_a_point_over_the_budget_is_refused_once_whichever_models_it_is_of(in_memory: Path) -> None:
    ops = max(_two("fp16").candidate(_two("fp16").decode(i)).cost().ops for i in range(4))
    enqueue = [{"model": "b"}, {"model": "a"}]
    space = _two("fp16", search={"trials": 9}, enqueue=enqueue, budget={"ops": ops - 1})
    summary = _search(space, in_memory / "two")
    assert (summary.ended, summary.trained) == (Ended.EXHAUSTED, 2)
    refused = [record for record in summary.records if record.outcome is Outcome.OVER_BUDGET]
    assert [record.choices for record in refused] == [{"model": "b", "stage0.*": "fp16"}]
    raised = _two("fp16", search={"trials": 9}, enqueue=enqueue, budget={"ops": ops})
    assert (_search(raised, in_memory / "two").trained, len(raised.enqueued)) == (3, 2)


def test_a_study_of_earlier_versions_that_trained_a_candidate_twice_goes_on(in_memory: Path) -> None:
    space = _two(search={"trials": 9, "pruner": "none"}, enqueue=[{"model": "b"}])
    folder = StudyFolder(in_memory / "two")
    folder.prepare()
    folder.claim(space)
    store(folder, *(record_of(space, number, Outcome.COMPLETE) for number in (0, 1, 2)))  # 2 is 0 of the other model
    assert space.candidate(space.decode(2)).id == space.candidate(space.decode(0)).id
    summary = _search(space, folder.path)
    assert (summary.ended, summary.trained) == (Ended.EXHAUSTED, 4)
    assert [record.choices for record in summary.records] == [space.decode(i) for i in range(4)]
    assert snapshot_of(folder).state is State.DONE
    assert "complete  4" in screen("show", str(folder.path), tty=False, width=200)


def test_space_says_what_stands_in_two_models(in_memory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (in_memory / "two.yaml").write_text(_two().to_yaml())
    shown = screen("space", str(in_memory / "two.yaml"), tty=False, width=120)
    said = "of b, which an earlier model has too; each candidate is trained once"
    assert f"in several models: 1 {said}" in shown
    assert "20 trials cover all 3 feasible configurations." in shown
    plain = _two().to_plain()
    for model, layers in zip(plain["model"], ("*", "stage*"), strict=True):
        model["precision"]["groups"] = [{"layers": layers, "tie": "each", "choices": ["binary", "fp16"]}]
    (in_memory / "two.yaml").write_text(parse_space(plain, "two").to_yaml())
    monkeypatch.setattr(feasible, "ENUMERABLE", 1)
    monkeypatch.setattr(feasible, "SAMPLE", 5)
    shown = screen("space", str(in_memory / "two.yaml"), tty=False, width=120)
    assert re.search(rf"in several models: \d+ sampled {said}", shown)
