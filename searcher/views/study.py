"""A study as a whole: the question, how far it is, the leaderboard, what it teaches, what to do next."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from bhvit.families import family_named
from searcher.commonalities import commonalities
from searcher.events import last_start
from searcher.importances import importances
from searcher.listing import ordered, selected
from searcher.model_space import MODEL
from searcher.plain import budget_json, trial_json
from searcher.quantities import QUANTITIES
from searcher.ranking import best_of_models, outcome_counts, ranked
from searcher.records import TrialRecord
from searcher.repeats import Repeats
from searcher.snapshot import State, StudySnapshot
from searcher.space import Space
from searcher.study_folder import StudyFolder
from searcher.trial_fields import TrialFields
from searcher.variables import Kind
from searcher.views import marks
from searcher.views.insights import common_view, ends_view, importances_view, insights_json
from searcher.views.layout import suggestions
from searcher.views.leaderboard import leaderboard
from searcher.views.study_header import question_json, study_header

TOP = 10
FRONT_ROWS = 8
_BRIEFLY = ("mark", "trial", "hidden", "intermediate", "bits", "accuracy", *QUANTITIES)


@dataclass(frozen=True)
class StudyView:
    """A study, and what of it is asked for: `top` rows, `columns`, a condition, an order, the front alone, all trials.

    `repeats` are the studies of other seeds.
    """

    snapshot: StudySnapshot
    top: int | None = TOP
    columns: Sequence[str] | None = None
    where: str | None = None
    sort: str | None = None
    everything: bool = False
    front_only: bool = False
    repeats: Repeats | None = None

    @cached_property
    def fields(self) -> TrialFields:
        """The fields of the study's trials."""
        return TrialFields(self.snapshot.space, self.repeats)

    @cached_property
    def rows(self) -> list[TrialRecord]:
        """The trials that are asked for, in their order; raises `InvalidInput` for a wrong condition or order."""
        rows = selected(self.snapshot, self.fields, self.where, self.everything)
        if self.front_only:
            front = {r.number for r in self.snapshot.front}
            rows = [r for r in rows if r.number in front]
        return ordered(rows, self.fields, self.sort)

    @cached_property
    def shown(self) -> list[TrialRecord]:
        """The first of them, which are listed."""
        return self.rows[: self.top]

    @cached_property
    def front_rows(self) -> list[TrialRecord]:
        """The Pareto front, or trials spread evenly over it; none where the list has it or chosen columns."""
        front, listed = self.snapshot.front, {r.number for r in self.shown}
        several = len(self.snapshot.space.search.objectives) > 1
        if several or self.front_only or not self._usual or {r.number for r in front} <= listed:
            return []
        count = min(FRONT_ROWS, len(front))
        return [front[round(i * (len(front) - 1) / max(1, count - 1))] for i in range(count)]

    @cached_property
    def best_rows(self) -> list[TrialRecord]:
        """Of each of several models the most accurate trial within `where`, best first; none where the list has all."""
        space, listed = self.snapshot.space, {r.number for r in self.shown}
        if not space.mixed or not self._usual:
            return []
        asked = {r.number for r in selected(self.snapshot, self.fields, self.where, False)}
        rows = [r for r in self.snapshot.ranked if r.number in asked]
        best = {r.number for r in best_of_models(space, rows).values() if r is not None}
        return [] if best <= listed else [r for r in rows if r.number in best]

    @property
    def _usual(self) -> bool:
        """Whether there is a list, with the usual columns, that more can be said below."""
        return bool(self.shown) and self.columns is None


def ended_view(folder: StudyFolder, space: Space, records: Sequence[TrialRecord]) -> RenderableType:
    """The study as a run leaves it, from the records at hand."""
    return study_view(StudyView(StudySnapshot(folder, space, tuple(records), last_start(folder.events))))


def study_view(view: StudyView) -> RenderableType:
    """Header, leaderboard, front, what the trials teach, and how they ended."""
    snapshot = view.snapshot
    parts: list[RenderableType] = [*study_header(snapshot), *lifted_view(snapshot), ""]
    sections = (
        list(_leaderboard(view)),
        list(_best_of_models(view)),
        list(common_view(commonalities(snapshot.space, snapshot.ranked))),
        list(importances_view(importances(snapshot.space, snapshot.records))),
        list(ends_view(snapshot)),
    )
    for section in sections:
        parts += [*section, ""] if section else []
    return Group(*parts[:-1])


def lifted_view(snapshot: StudySnapshot) -> Iterator[RenderableType]:
    """A line where the trials are seen by another device than the one that their run limited."""
    if snapshot.lifted:
        yield Text(f"Lifted here, as it holds on that device alone: {snapshot.lifted}.", style="yellow")


def study_json(view: StudyView) -> dict[str, Any]:
    """The study as plain data: `trials` by number, `listed` the numbers that are asked for, `ranking` best first."""
    snapshot = view.snapshot
    space, records, budget = snapshot.space, snapshot.records, snapshot.budget
    trained, saved = snapshot.parents_saved
    status = snapshot.status
    return {
        "study": str(snapshot.folder.path),
        "state": str(snapshot.state),
        "question": question_json(space),
        "budget": budget_json(budget),
        "resliced": snapshot.resliced,
        "lifted": snapshot.lifted or None,
        "space_size": space.size,
        "feasible": snapshot.feasible,
        "planned": snapshot.planned,
        "done": snapshot.done,
        "remaining_seconds": None if status is None else status.remaining,
        "outcomes": outcome_counts(records),
        "fp_trainings": trained,
        "fp_trainings_saved": saved,
        "objectives": list(space.search.objectives),
        "front": [r.number for r in snapshot.front],
        "ranking": [r.number for r in snapshot.ranked],
        "listed": [r.number for r in view.shown],
        **insights_json(snapshot),
        **_best_of_models_json(snapshot),
        **({} if view.repeats is None else {"repeats": _repeats_json(view.repeats)}),
        "trials": [trial_json(r, budget) for r in records],
    }


def _best_of_models_json(snapshot: StudySnapshot) -> dict[str, Any]:
    if not snapshot.space.mixed:
        return {}
    found = best_of_models(snapshot.space, snapshot.ranked)
    return {"best_of_models": {label: None if record is None else record.number for label, record in found.items()}}


def next_commands(
    program: str,
    search: Sequence[str],
    ablation: Sequence[str],
    folder: Path,
    records: Sequence[TrialRecord],
    space: Space,
) -> RenderableType:
    """What to try after a search, ready to be pasted.

    `program` is how the user called us, `search` and `ablation` the arguments that go on and that ablate.
    """
    best = ranked(records, space.budget)
    of_best = space.model_of(best[0].choices) if best else space.models[0]
    rows: list[tuple[str, Sequence[str]]] = [("this table", ["show", str(folder)])]
    if best:
        rows.append(("the test accuracy of the best, once", ["evaluate", str(folder), str(best[0].number)]))
        if family_named(of_best.family).deployable:
            deploy = ["deploy", str(folder), str(best[0].number), "--out", "deployed"]
            rows.append(("its files for other programs", deploy))
    rows.append(("go on", search))
    if any(v.kind is Kind.INTERMEDIATE for v in of_best.variables):
        model = ["--set", f"{MODEL}={of_best.label}"] if space.mixed else []
        rows.append(("hidden against MLP", [*ablation, *model]))
    return Group(*suggestions(program, rows))


def _leaderboard(view: StudyView) -> Iterator[RenderableType]:
    """The rows that are asked for, the notes to read them, and the front where it is not among them."""
    snapshot, fields, shown = view.snapshot, view.fields, view.shown
    if not shown:
        yield _nothing(view)
        return
    several = len(snapshot.space.search.objectives) > 1
    if several and view.sort is None:
        yield Text(f"{_front_words(snapshot, snapshot.front)}; it is listed first.", style="bold")
    left = len(view.rows) - len(shown)
    more = f"... and {left:,} more: --top {len(view.rows)}" if left else ""
    below = (*view.front_rows, *view.best_rows)
    yield leaderboard(snapshot, fields, shown, view.columns, more, below=below)
    if view.repeats is not None:
        yield from _repeats(view.repeats)
    if view.front_rows:
        yield ""
        yield from _front(view)


def _best_of_models(view: StudyView) -> Iterator[RenderableType]:
    """The most accurate trial of each model, best first, and the models of which none is within the budget yet."""
    snapshot = view.snapshot
    if view.best_rows:
        having = "" if view.where is None else f" with {view.where}"
        yield Text(f"The most accurate of each model{having}", style="bold")
        among = (MODEL, *_BRIEFLY, "parent_accuracy")
        yield leaderboard(snapshot, view.fields, view.best_rows, noted=False, among=among)
    if snapshot.space.mixed and snapshot.ranked and view.where is None and view.columns is None:
        best = best_of_models(snapshot.space, snapshot.ranked)
        if lacking := [label for label, record in best.items() if record is None]:
            yield Text(f"No trained trial within the budget: {', '.join(lacking)}.", style="dim")


def _front(view: StudyView) -> Iterator[RenderableType]:
    """The front, or rows spread evenly over it."""
    front, rows = view.snapshot.front, view.front_rows
    more = f"... and {len(front) - len(rows):,} more between them: --front" if len(rows) < len(front) else ""
    yield Text(_front_words(view.snapshot, front), style="bold")
    yield leaderboard(view.snapshot, view.fields, rows, None, more, noted=False, among=(MODEL, *_BRIEFLY))


def _front_words(snapshot: StudySnapshot, front: Sequence[TrialRecord]) -> str:
    mark, costs = marks.FRONT.character, snapshot.front_costs
    return f"{mark} Pareto front of accuracy against {costs}: {len(front):,} of {len(snapshot.ranked):,} trained trials"


def _nothing(view: StudyView) -> RenderableType:
    """Why there is no row, and what would show one."""
    if view.where is None:
        over = view.snapshot.state is State.DONE or view.snapshot.resliced
        return f"No trained trial is within the budget{'' if over else ' yet'}."
    others = len(selected(view.snapshot, view.fields, view.where, True))
    hint = f"; of all others {others:,} do: --all lists them" if others else ""
    return f"No trained trial within the budget satisfies {view.where}{hint}."


def _repeats(repeats: Repeats) -> Iterator[RenderableType]:
    """Which studies the means are over."""
    named = ", ".join(f"{s.path.name} (seed {s.seed}, {s.trials:,} complete)" for s in repeats.studies)
    yield Text(f"mean and sd (n - 1) of complete trials of the same candidate in: {named}.", style="dim")
    if len(repeats.studies) == 1:
        yield "No study beside this one asks the same question with another seed."
    if repeats.same_seed:
        names, why = ", ".join(repeats.same_seed), "it asks" if len(repeats.same_seed) == 1 else "they ask"
        yield Text(f"Left out: {names}; {why} this question with a seed that is counted already.", style="dim")
    if repeats.unreadable:
        yield f"Not read (damaged, of another version, or no right to read): {', '.join(repeats.unreadable)}."


def _repeats_json(repeats: Repeats) -> dict[str, Any]:
    return {
        "studies": [{"study": str(s.path), "seed": s.seed, "complete": s.trials} for s in repeats.studies],
        "same_seed": list(repeats.same_seed),
        "unreadable": list(repeats.unreadable),
        "accuracies": {candidate: list(found) for candidate, found in repeats.accuracies.items()},
    }
