"""Studies side by side: what was asked differently, results, the joint front, speed, and shared candidates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from searcher.comparison import Comparison
from searcher.numbers import duration_text, percent_text
from searcher.plain import budget_json, costs_json
from searcher.quantities import QUANTITIES, labels_of
from searcher.ranking import metrics_of, outcome_counts, training_seconds
from searcher.records import Outcome, TrialRecord
from searcher.trial_fields import NOTHING
from searcher.views.chart_text import chart_text
from searcher.views.console import table
from searcher.views.layout import Beside, section
from searcher.views.marks import BEST, FRONT, OUTCOMES, STATES
from searcher.views.study_columns import StudyColumns


def comparison_view(comparison: Comparison) -> RenderableType:
    """All of it."""
    progress = section("Best Top-1 (%) after so many trainings, within the common budget", _progress(comparison))
    if comparison.chart is not None:
        progress += ("", chart_text(comparison.chart, height=10))
    return Group(
        Text(f"{len(comparison.studies)} studies", style="bold"),
        *section("Asked differently", _asked(comparison)),
        Beside(section("Results", _results(comparison)), progress),
        *section("Candidates that two studies trained to the end", _agreements(comparison)),
        "",
        *_notes(comparison),
    )


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The same as plain data; lists have one entry a study, in the order of `studies`."""
    common, fronts = comparison.common_budget, comparison.fronts
    return {
        "studies": [_study_json(comparison, place) for place in range(len(comparison.studies))],
        "asked": [{"key": row.key, "values": list(row.values)} for row in comparison.asked],
        "common_budget": common and budget_json(common),
        "front_size": comparison.front_size,
        "front": fronts and [[record.number for record in front] for front in fronts],
        "progress": [{"trainings": count, "accuracy": list(values)} for count, values in comparison.progress],
        "shared_candidates": [
            {
                "studies": [pair.first, pair.second],
                "candidates": pair.candidates,
                "accuracy_difference": pair.difference and pair.difference.mean,
                "deviation": pair.difference and pair.difference.deviation,
            }
            for pair in comparison.agreements
        ],
    }


def _study_json(comparison: Comparison, place: int) -> dict[str, Any]:
    study, common = comparison.studies[place], comparison.common_rankings[place]
    return {
        "study": str(study.folder.path),
        "state": study.state.value,
        "done": study.done,
        "planned": study.planned,
        "outcomes": outcome_counts(study.records),
        "budget": budget_json(study.budget),
        "best": costs_json(study.ranked[0]) if study.ranked else None,
        "best_within_common_budget": costs_json(common[0]) if common else None,
        "training_seconds": training_seconds(study.records),
    }


def _asked(comparison: Comparison) -> RenderableType:
    if not comparison.asked:
        return "nothing: the same question, budget and settings of the search"
    rows = [(row.key, [_value_text(row.key, value) for value in row.values]) for row in comparison.asked]
    return StudyColumns("key", comparison.names, rows, figures=False)


def _results(comparison: Comparison) -> RenderableType:
    return StudyColumns("", comparison.names, list(_result_rows(comparison)))


def _result_rows(comparison: Comparison) -> Iterator[tuple[str, list[Text | str]]]:
    studies, common = comparison.studies, comparison.common_rankings
    yield "state", [STATES[study.state].text(study.state.value) for study in studies]
    yield "trials", [f"{study.done:,}/{study.planned:,}" for study in studies]
    counts = [outcome_counts(study.records) for study in studies]
    for outcome in Outcome:
        if any(outcome in found for found in counts):
            yield OUTCOMES[outcome].text(outcome.value).plain, [f"{found.get(outcome, 0):,}" for found in counts]
    yield "training took", [duration_text(training_seconds(study.records)) for study in studies]
    devices = {study.space.device for study in studies}
    known = tuple(QUANTITIES) if devices != {None} else comparison.quantities
    yield from _best_rows("best", [study.ranked for study in studies], known)
    if comparison.common_budget is not None and any(study.budget != comparison.common_budget for study in studies):
        yield "", ["" for _ in studies]
        yield from _best_rows("within the common budget", common, known)
    if comparison.fronts is not None:
        total = comparison.front_size
        yield FRONT.text("on the joint front").plain, [f"{len(front)}/{total}" for front in comparison.fronts]


def _best_rows(
    heading: str, rankings: Sequence[Sequence[TrialRecord]], quantities: Sequence[str]
) -> Iterator[tuple[str, list[Text | str]]]:
    """The best trial of each study: its number, accuracy and cost; the most accurate of them is marked."""
    bests = [ranking[0] if ranking else None for ranking in rankings]
    accuracies = [None if best is None else metrics_of(best).accuracy for best in bests]
    yield f"{heading}: Top-1", _marked(accuracies, [NOTHING if a is None else percent_text(a) for a in accuracies])
    yield "  trial", [NOTHING if best is None else str(best.number) for best in bests]
    for quantity in (QUANTITIES[name] for name in quantities):
        values = [None if best is None else quantity.of(best) for best in bests]
        yield f"  {quantity.label}", [NOTHING if value is None else quantity.text(value) for value in values]


def _progress(comparison: Comparison) -> RenderableType:
    if not comparison.progress:
        return "no training has ended yet"
    rows = []
    for count, values in comparison.progress:
        shown = [NOTHING if value is None else f"{100 * value:.1f}" for value in values]
        rows.append((f"{count:,}".rjust(len("trainings")), _marked(values, shown)))
    return StudyColumns("trainings", comparison.names, rows)


def _marked(values: Sequence[float | None], texts: Sequence[str]) -> list[Text | str]:
    """The texts, those of the largest values marked unless all are equally large."""
    known = [value for value in values if value is not None]
    distinct = len(set(known)) > 1
    return [BEST.text(t) if distinct and v == max(known) else t for v, t in zip(values, texts, strict=True)]


def _agreements(comparison: Comparison) -> RenderableType:
    result = table("study", "minus", *((name, "right") for name in ("candidates", "mean difference", "sd")))
    for pair in comparison.agreements:
        if pair.difference is not None:
            names = comparison.names[pair.second], comparison.names[pair.first]
            deviation = pair.difference.deviation
            spread = NOTHING if deviation is None else f"{100 * deviation:.1f} points"
            result.add_row(*names, f"{pair.candidates:,}", f"{100 * pair.difference.mean:+.1f} points", spread)
    return result if result.row_count else "none"


def _notes(comparison: Comparison) -> Iterator[Text]:
    common = comparison.common_budget
    if common is None:
        text = "Memory and OPs are counted in different ways: each study is judged by its own budget, without a front."
    else:
        text = f"Common budget, the tightest of each limit: {common}."
    yield Text(text, style="dim")
    yield Text(
        f"Front: of accuracy against {labels_of(comparison.quantities)}, of all studies together; equal points count "
        "for each.",
        style="dim",
    )
    if len({study.space.device for study in comparison.studies} - {None}) > 1:
        yield Text(
            "Latencies are predicted for different devices: they limit no other study; --device NAME compares them.",
            style="dim",
        )
    yield Text(f"{BEST.character} the best of a row. Top-1 on the validation split.", style="dim")


def _value_text(key: str, value: Any) -> str:
    if value is None:
        return NOTHING
    quantity = QUANTITIES.get(key.removeprefix("budget."))
    if quantity is not None and key.startswith("budget."):
        return quantity.amount(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value)
