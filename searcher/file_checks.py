"""Whether the files of a study are whole: records, checkpoints, FP parents, the log, and what killed processes left."""

from __future__ import annotations

import fcntl
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

from bhvit.errors import InvalidInput
from bhvit.wording import counted
from searcher.checkpoint_files import BEST, LAST, WARM_STARTS, torn
from searcher.files import read_json
from searcher.findings import Finding, note, numbered, ok, set_aside, wrong
from searcher.numbers import size_text
from searcher.records import RECORD_FILE, TrialRecord
from searcher.study_folder import StudyFolder

PARTIAL = ".*.partial"  # what `bhvit.whole_files` writes before it renames


def check_records(folder: StudyFolder) -> tuple[list[TrialRecord], list[Finding]]:
    """The readable records by number, and what is wrong with the others."""
    records, findings = [], []
    for path in sorted(folder.trials.glob(f"*/{RECORD_FILE}")):
        try:
            records.append(TrialRecord.from_json(read_json(path)))
        except InvalidInput as error:
            message = f"{path.parent.name}: {' '.join(str(error).split()).removeprefix(f'{path} ')}"
            remedy = "move it aside: the next search proposes the trial again and goes on from its checkpoints"
            findings.append(wrong("records", message, remedy, partial(set_aside, path)))
    records.sort(key=lambda r: r.number)
    doubled = [number for number, count in Counter(r.number for r in records).items() if count > 1]
    if doubled:
        findings.append(
            wrong("records", f"{numbered('trial', doubled)} has several folders", "remove those that are wrong")
        )
    return records, findings or [ok("records", f"{len(records)} trials, each with its record")]


def check_checkpoints(folder: StudyFolder, records: Sequence[TrialRecord]) -> Iterator[Finding]:
    """Torn checkpoints, and trained trials without weights."""
    whole, missing, found = 0, [], False
    for record in records:
        place = folder.trial(record)
        damage = _damage(place)
        whole += sum(reason is None for reason in damage.values())
        if record.outcome.trained and BEST not in damage:
            missing.append(record.number)
        for finding in _damaged(f"trial {record.number}", place, damage, record.outcome.trained):
            found = True
            yield finding
    known = {folder.trial(record) for record in records}
    others = [p for p in sorted(folder.trials.glob("*/")) if p not in known]  # without a readable record
    for place in others:
        damage = _damage(place)
        whole += sum(reason is None for reason in damage.values())
        for finding in _damaged(place.name, place, damage, finished=False):
            found = True
            yield finding
    if missing:
        yield wrong(
            "weights",
            f"{numbered('trial', missing)} {'have' if missing[1:] else 'has'} no {BEST}: the accuracy stands, "
            "but cannot be evaluated",
            "restore the file, or remove the trial's folder to have it trained again",
        )
    if not found:
        yield ok("checkpoints", f"{whole} files, all whole" if whole else "none yet")


def parents_of(folder: StudyFolder, records: Sequence[TrialRecord]) -> list[Path]:
    """The folders of the FP parents that the study's trials start from, beside the study or one level above."""
    keys = {r.metrics.parent_key for r in records if r.metrics is not None} | set(_being_trained(folder, records))
    parents = [above / WARM_STARTS for above in folder.path.resolve().parents[:2]]
    return [parent / key for parent in parents for key in sorted(keys) if (parent / key).is_dir()]


def check_parents(places: Sequence[Path]) -> Iterator[Finding]:
    """Torn checkpoints of FP parents; one that some process is training is left alone."""
    findings: list[Finding] = []
    for place in places:
        damage = _damage(place)
        if not _is_free(place / "lock"):
            findings.append(note("parents", f"{place} is being trained by a process"))
        else:
            findings += _damaged(str(place), place, damage, finished=False)
    yield from findings or [ok("parents", f"{len(places)} FP parents, all whole" if places else "none yet")]


def check_log(folder: StudyFolder) -> Finding:
    """A last line that a killed process left half written."""
    if not folder.events.exists():
        return ok("events", "none yet")
    with folder.events.open("rb") as file:
        size = file.seek(0, 2)
        file.seek(max(0, size - 1))
        closed = file.read(1) in (b"\n", b"")
    if closed:
        return ok("events", f"{size_text(size)}, the last line is whole")

    def close() -> str:
        with folder.events.open("ab") as file:
            file.write(b"\n")
        return "closed the line"

    remedy = "close the line: it is passed over"
    return wrong("events", f"the last line of {folder.events.name} is half written", remedy, close)


def check_leftovers(folder: StudyFolder, parents: Sequence[Path], in_use: bool) -> Finding:
    """Temporary files of processes that died; where a search runs they may be its own."""
    places = [folder.path, *(place for place in parents if _is_free(place / "lock"))]
    found = [path for place in places for path in place.rglob(PARTIAL) if path.is_file()]
    if not found:
        return ok("leftovers", "no temporary files")
    size = size_text(sum(p.stat().st_size for p in found))
    message = f"{counted(len(found), 'temporary file')}, {size}"
    if in_use:
        return note("leftovers", f"{message}; the search may be writing them")

    def remove() -> str:
        for path in found:
            path.unlink(missing_ok=True)
        return f"removed {size}"

    return wrong("leftovers", f"{message}, left by processes that were killed", "remove them", remove)


def _damage(place: Path) -> dict[str, str | None]:
    """The checkpoints in a folder: name -> what is wrong with it, None where it is whole."""
    return {name: torn(place / name) for name in (LAST, BEST) if (place / name).exists()}


def _damaged(what: str, place: Path, damage: dict[str, str | None], finished: bool) -> Iterator[Finding]:
    """What to do about torn checkpoints. A training that goes on needs both files, or begins its phase again."""
    reasons = "; ".join(f"{name}: {reason}" for name, reason in damage.items() if reason)
    if not reasons:
        return
    message = f"{what}, {reasons}"
    if finished and damage.get(BEST):
        remedy = "restore it, or remove the trial's folder to have it trained again"
        yield wrong("checkpoints", message, remedy)
        return
    files = [place / name for name, reason in damage.items() if reason or damage.get(BEST)]
    remedy = "move it aside" if finished else "move it aside: the next search trains this phase again"
    yield wrong("checkpoints", message, remedy, partial(set_aside, *files))


def _being_trained(folder: StudyFolder, records: Iterable[TrialRecord]) -> Iterator[str]:
    """Keys of the parents that unfinished trials have begun to train."""
    for record in records:
        key = None if record.outcome.finished else folder.begun_parent(record)
        if key is not None:
            yield key


def _is_free(lock: Path) -> bool:
    """Whether no process trains the parent whose lock this is (`searcher.parents`)."""
    if not lock.exists():
        return True
    with lock.open("r") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
    return True
