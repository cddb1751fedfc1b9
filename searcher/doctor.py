"""What is wrong with a study, and how it is mended; no torch, nothing is printed here."""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path

from bhvit.errors import InvalidInput
from searcher.events import last_start
from searcher.file_checks import (
    check_checkpoints,
    check_leftovers,
    check_log,
    check_parents,
    check_records,
    parents_of,
)
from searcher.findings import Finding, aside_suffix, mended, note, numbered, ok, wrong
from searcher.lock import hold, holder_of
from searcher.numbers import size_text
from searcher.records import TrialRecord
from searcher.space import Space
from searcher.storage_url import choose_storage
from searcher.study_database import Difference, StudyDatabase, Unavailable, Unusable
from searcher.study_folder import StudyFolder


def examine(folder: StudyFolder, storage: str | None = None) -> list[Finding]:
    """Every check's findings, in a fixed order; `storage` as in `searcher.study_mirror.open_mirror`.

    Reads only. A finding whose `mend` is set can be mended; while a search runs none is to be.
    """
    space, findings = _check_space(folder)
    in_use, finding = _check_lock(folder)
    records, about_records = check_records(folder)
    findings += [finding, *about_records, _check_trials(records, in_use)]
    findings += check_checkpoints(folder, records)
    parents = parents_of(folder, records)
    findings += check_parents(parents)
    findings += [check_log(folder), check_leftovers(folder, parents, in_use)]
    findings.append(_check_database(folder, space, storage, records, in_use))
    findings.append(_check_disk(folder, records))
    return findings


def mend(folder: StudyFolder, storage: str | None = None) -> list[Finding]:
    """Examine and mend what can be mended; raises `InvalidInput` where a search runs on the study."""
    with hold(folder.lock):
        return [mended(finding) for finding in examine(folder, storage)]


def _check_space(folder: StudyFolder) -> tuple[Space | None, list[Finding]]:
    try:
        space = folder.space()
    except InvalidInput as error:
        remedy = f"copy the space file that the study was made from to {folder.space_file}"
        return None, [wrong("space", str(error), remedy)]
    return space, [ok("space", f"{space.size:,} configurations, fingerprint {space.fingerprint}")]


def _check_lock(folder: StudyFolder) -> tuple[bool, Finding]:
    """Whether another process holds the study."""
    holder = holder_of(folder.lock)
    if holder is None or (holder.host, holder.pid) == (socket.gethostname(), os.getpid()):
        return False, ok("lock", "free: no search runs on the study")
    return True, note("lock", f"held by {holder}", "what it is writing may look unfinished; nothing can be mended now")


def _check_trials(records: Sequence[TrialRecord], in_use: bool) -> Finding:
    """Trials that are not finished, and numbers without a trial."""
    unfinished = [r.number for r in records if not r.outcome.finished]
    numbers = {r.number for r in records}
    absent = [n for n in range(max(numbers, default=-1)) if n not in numbers]
    said = []
    if unfinished:
        going_on = "under way" if in_use else "not finished: the next search goes on with them"
        said.append(f"{numbered('trial', unfinished)} {going_on}")
    if absent:
        said.append(f"{numbered('trial', absent)} without a record: the next search proposes them again")
    return note("trials", "; ".join(said)) if said else ok("trials", "all are finished")


def _check_database(
    folder: StudyFolder, space: Space | None, storage: str | None, records: Sequence[TrialRecord], in_use: bool
) -> Finding:
    """The Optuna study against the records."""
    if space is None:
        return note("database", "not compared: the space file cannot be read")
    if in_use:
        return note("database", "not compared: the search is writing it")
    try:
        server, _ = choose_storage(folder, storage)
        database = StudyDatabase(folder, space, server)
        found = database.compare(records)
    except Unavailable as error:
        remedy = (
            "close the program that holds it"
            if server is None
            else "start the server, or give the password: --storage URL"
        )
        return wrong("database", f"{server or folder.database} cannot be read: {error}", remedy)
    except Unusable as error:
        return _rebuilt(database, folder, error.reason)
    except InvalidInput as error:
        rule, _, remedy = str(error).partition("; ")
        return wrong("database", rule, remedy)
    if found is None and not records:
        return ok("database", "none yet")
    if found is None or found:
        return _brought_up_to_date(database, folder, found)
    return ok("database", f"{database} equals the records")


def _brought_up_to_date(database: StudyDatabase, folder: StudyFolder, found: Difference | None) -> Finding:
    def write() -> str:
        _write(database, folder)
        return "written from the records"

    if found is None:
        return wrong("database", f"{database} has no study yet", "write it from the records", write)
    parts = ((found.missing, "missing"), (found.other, "different"), (found.extra, "without a record"))
    said = "; ".join(f"{numbered('trial', list(numbers))} {what}" for numbers, what in parts if numbers)
    return wrong("database", f"{database}: {said}", "bring it up to date from the records", write)


def _rebuilt(database: StudyDatabase, folder: StudyFolder, reason: str) -> Finding:
    def rebuild() -> str:
        aside = database.set_aside(aside_suffix())
        _write(database, folder)
        return f"written anew from the records; the old one is kept as {Path(aside).name}"

    return wrong("database", f"{database} cannot be used: {reason}", "keep it aside, write it anew", rebuild)


def _write(database: StudyDatabase, folder: StudyFolder) -> None:
    """Bring the database up to date with the records that are readable now."""
    try:
        database.bring_up_to_date(check_records(folder)[0])
    except Unavailable as error:
        raise database.refused(error) from error


def _check_disk(folder: StudyFolder, records: Sequence[TrialRecord]) -> Finding:
    """Free space against what the trials still to come will take, as large as the largest so far."""
    free = shutil.disk_usage(folder.path).free
    each = max((_size(folder.trial(record)) for record in records), default=0)
    started = last_start(folder.events)
    left = 0 if started is None else max(0, started.planned - sum(r.outcome.finished for r in records))
    message = f"{size_text(free)} free"
    if not each:
        return ok("disk", message)
    message += f", a trial takes {size_text(each)}, {left or 'none'} are to come"
    if free < each * (left + 1):
        return wrong("disk", message, f"free {size_text(each * (left + 1) - free)}")
    return ok("disk", message)


def _size(folder: Path) -> int:
    return sum(entry.stat().st_size for entry in _files(folder))


def _files(folder: Path) -> Iterator[os.DirEntry[str]]:
    if folder.is_dir():
        yield from (entry for entry in os.scandir(folder) if entry.is_file())
