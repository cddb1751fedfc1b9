"""Finding a study by what a user types."""

from __future__ import annotations

from pathlib import Path

from bhvit.errors import InvalidInput
from searcher.study_folder import StudyFolder

RUNS = Path("runs")


def study_named(text: str) -> StudyFolder:
    """The study folder at path `text`, or `runs/<text>`; raises `InvalidInput` listing the studies there are."""
    for path in (Path(text), RUNS / text):
        folder = StudyFolder(path)
        if folder.space_file.exists():
            return folder
    known = sorted(p.parent.name for p in RUNS.glob("*/space.yaml"))
    there = f"studies in {RUNS}: {', '.join(known)}" if known else f"there is no study in {RUNS} yet"
    raise InvalidInput(f"{text} must be the folder of a study, or its name in {RUNS}, but it is neither; {there}.")
