"""Reading the test split, at most once a trial: shared by the commands that report test accuracy."""

from __future__ import annotations

import dataclasses

from searcher.files import write_json
from searcher.records import Evaluation, TrialRecord
from searcher.study_folder import StudyFolder

WEIGHTS = "best.safetensors"


def evaluated_once(folder: StudyFolder, record: TrialRecord, device: str) -> tuple[Evaluation, bool]:
    """What the trial's best weights score on the test split, and whether that was known already; it is kept."""
    kept = folder.test_result(record)
    if kept is not None:
        return kept, True
    from searcher.pipeline import evaluate_candidate  # torch takes seconds to load: only when it is needed

    recipe, data = folder.space().training
    weights = folder.trial(record) / WEIGHTS
    result = evaluate_candidate(record.candidate, recipe, data, weights, "test", device)
    write_json(folder.test_file(record), dataclasses.asdict(result))
    return result, False
