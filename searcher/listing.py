"""Which trials of a study a user asks to see, and in which order; no torch, no optuna, no rich."""

from __future__ import annotations

from bhvit.errors import InvalidInput
from searcher.records import TrialRecord
from searcher.snapshot import StudySnapshot
from searcher.trial_fields import TrialFields
from searcher.where import condition


def selected(snapshot: StudySnapshot, fields: TrialFields, where: str | None, everything: bool) -> list[TrialRecord]:
    """Trained trials within the budget, best first, that satisfy `where`; with `everything` the others after them.

    In a study with several objectives the Pareto front comes first.
    """
    rows = list(snapshot.ranked)
    if len(snapshot.space.search.objectives) > 1:
        ahead = {r.number for r in snapshot.front}
        rows = [*snapshot.front, *(r for r in rows if r.number not in ahead)]
    if everything:
        known = {r.number for r in rows}
        rows += [r for r in snapshot.records if r.number not in known]
    return rows if where is None else list(filter(condition(where, fields), rows))


def ordered(records: list[TrialRecord], fields: TrialFields, keys: str | None) -> list[TrialRecord]:
    """`records` sorted by fields such as `ops,-accuracy`, smallest first, largest first after a dash.

    Trials without a value come last either way; ties keep their order.
    """
    rows = list(records)
    for key in reversed([part.strip() for part in (keys or "").split(",") if part.strip()]):
        field, falling = fields.named(key.removeprefix("-"), "field in --sort"), key.startswith("-")
        valued = [(value, r) for r in rows if (value := field.key(r)) is not None]
        without = [r for r in rows if field.key(r) is None]
        rows = [r for _, r in sorted(valued, key=lambda pair: pair[0], reverse=falling)] + without
    if keys is not None and not any(part.strip() for part in keys.split(",")):
        raise InvalidInput(f"--sort takes fields such as ops,-accuracy, but it is {keys!r}.")
    return rows
