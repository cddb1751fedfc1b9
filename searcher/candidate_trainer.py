"""The `Train` of real searches: a picklable value that carries everything a worker needs but the job; no torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from searcher.executors.executor import Report, TrialJob
from searcher.recipe import DataConfig, TrainingRecipe
from searcher.records import Metrics


@dataclass(frozen=True)
class CandidateTrainer:
    """Trains candidates by `searcher.pipeline.train_candidate`, with whose arguments its fields share their meaning."""

    recipe: TrainingRecipe
    data: DataConfig
    warm_starts: Path
    seed: int
    device: str = "auto"
    threads: int | None = None
    processes: int = 1

    def __call__(self, job: TrialJob, report: Report) -> Metrics:
        """Train `job` or go on with it."""
        from searcher.pipeline import train_candidate  # torch takes seconds to load: only in the worker

        return train_candidate(
            job.candidate,
            self.recipe,
            self.data,
            directory=job.directory,
            warm_starts=self.warm_starts,
            seed=self.seed,
            device=self.device,
            threads=self.threads,
            processes=self.processes,
            report=report,
            progress=report.step,
        )
