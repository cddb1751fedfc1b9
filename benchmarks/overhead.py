"""What a search costs beside its trainings: the coordinator's work, and the time that workers wait for it.

Run `python benchmarks/overhead.py [--workers 8] [--trials 80] [--seconds 5] [--space FILE]`. Trainings are sleeps in
real worker processes, so that any number of workers fits on any machine; everything else is the real thing: proposals,
records, events, and the study's mirror in SQLite. Ends with one line of JSON.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from searcher.coordinator import run_search
from searcher.executors.executor import Report, TrialJob
from searcher.executors.processes import ProcessExecutor
from searcher.records import EpochRecord, Metrics
from searcher.space import load_space, parse_space

SPACE = Path(__file__).parent.parent / "search_spaces" / "demo.yaml"
EPOCHS = 5


@dataclass(frozen=True)
class Sleep:
    """A training of `seconds` in all, in which the epochs of phase 2 share them."""

    seconds: float

    def __call__(self, job: TrialJob, report: Report) -> Metrics:
        """Sleep and report; 20 steps an epoch."""
        epochs: list[EpochRecord] = []
        for epoch in range(1, EPOCHS + 1):
            for step in range(1, 21):
                report.step("qat", epoch, step, 20)
                time.sleep(self.seconds / EPOCHS / 20)
            accuracy = int(job.candidate.id, 16) % 997 / 997 * (1 - 0.5**epoch)
            epochs.append(EpochRecord("qat", epoch, EPOCHS, 1.0, 1.0, accuracy, self.seconds / EPOCHS))
            report(epochs[-1])
        best = epochs[-1].accuracy
        return Metrics(best, best, EPOCHS, "parent", 0.9, False, tuple(epochs), self.seconds)


def main() -> None:
    """Search, and compare with the trainings alone."""
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--workers", type=int, default=8)
    arguments.add_argument("--trials", type=int, default=80)
    arguments.add_argument("--seconds", type=float, default=5.0)
    arguments.add_argument("--space", default=str(SPACE), help="its feasible configurations are what proposals cost")
    args = arguments.parse_args()
    plain = load_space(args.space).to_plain()
    plain["search"] |= {"workers": args.workers, "trials": args.trials, "pruner": {"name": "none"}}
    plain["enqueue"] = []
    space = parse_space(plain, "overhead")
    names = [f"worker {i + 1}" for i in range(args.workers)]
    with tempfile.TemporaryDirectory() as folder:
        executor = ProcessExecutor([Sleep(args.seconds)] * args.workers, names)
        wall, work = time.perf_counter(), time.process_time()
        summary = run_search(space, Path(folder) / "study", executor)
        wall, work = time.perf_counter() - wall, time.process_time() - work
    ideal = args.trials / args.workers * args.seconds
    print(f"{summary.trained} trials of {args.seconds:g} s, {args.workers} workers, {len(space.variables)} variables")
    print(f"{'wall time':34} {wall:8.2f} s   (trainings alone: {ideal:.2f} s)")
    print(f"{'coordinator, processor time':34} {work:8.2f} s   {work / wall:.2%} of wall time")
    print(f"{'a trial':34} {1000 * work / args.trials:8.1f} ms")
    figures = {"wall_s": wall, "ideal_s": ideal, "coordinator_cpu_s": work, "share": work / wall}
    print(json.dumps({"benchmark": "overhead", **vars(args), **figures}))


if __name__ == "__main__":
    from overhead import main as run_main  # the workers must find `Sleep` in a module that they can import

    run_main()
