"""Passes a training's epochs on to the study and the event log, each once, and says when to stop."""

from __future__ import annotations

import optuna

from searcher.events import EpochFinished, EventLog
from searcher.records import EpochRecord

SEARCH_PHASE = "qat"  # only phase 2 is the candidate's own: earlier epochs belong to its FP parent


class Reporter:
    """The `Report` of one trial.

    A resumed training replays its epochs; those that the study or the log has are not stored again, and the verdict
    is given where it was given before: at the last epoch that the study knows, and at every later one.
    """

    def __init__(self, trial: optuna.Trial, log: EventLog) -> None:
        self.trial, self.log = trial, log
        known = trial.study.get_trials(deepcopy=False)[trial.number].intermediate_values
        self.last_known = max(known, default=0)
        self.stopped = False
        self.failure: Exception | None = None

    def __call__(self, record: EpochRecord) -> bool:
        """Store the epoch; True where the trial's learning curve is not worth another one."""
        try:
            return self._take(record)
        except Exception as error:
            self.failure = error
            raise

    def _take(self, record: EpochRecord) -> bool:
        if record.phase == SEARCH_PHASE:
            if record.epoch > self.last_known:
                self.trial.report(record.accuracy, record.epoch)
            worth_asking = self.last_known <= record.epoch < record.epochs
            self.stopped = worth_asking and bool(self.trial.should_prune())
        if not self.log.has_epoch(self.trial.number, record):
            self.log.append(EpochFinished(self.trial.number, record))
        return self.stopped
