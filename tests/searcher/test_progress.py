"""The estimate of the time left, against a clock that the test turns."""

from searcher.events import EpochFinished, SearchStarted, TrialFinished, TrialStarted, WorkerLost
from searcher.executors.executor import Stepped
from searcher.progress import UNKNOWN_RATIO, SearchProgress
from searcher.records import EpochRecord, Outcome


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def started(number: int, trained: int) -> TrialStarted:
    return TrialStarted(number, 1, "0123456789", {"hidden": 1}, 1e5, 1e6, trained, 3)


def epoch(number: int, phase: str, n: int, epochs: int, seconds: float) -> EpochFinished:
    return EpochFinished(number, EpochRecord(phase, n, epochs, 1.0, 1.0, 0.5, seconds))


def test_speed_is_that_of_the_epoch_without_its_validation() -> None:
    progress, clock = searching()
    speed = progress.running[0].speed
    for n, now in ((1, 0.0), (3, 0.5)):
        clock.now = now
        progress.on_event(step(0, "fp", 1, n, 10))
        assert speed.steps_per_second is None  # too short to tell
    clock.now = 4.0
    progress.on_event(step(0, "fp", 1, 9, 10))
    assert speed.steps_per_second == 8 / 4
    clock.now = 60.0  # after a long validation
    progress.on_event(step(0, "fp", 2, 1, 10))
    assert speed.steps_per_second == 8 / 4
    clock.now = 62.0
    progress.on_event(step(0, "fp", 2, 7, 10))
    assert speed.steps_per_second == 6 / 2


def test_an_epoch_that_is_begun_again_has_a_speed_of_its_own() -> None:
    progress, clock = searching()
    for n, now in ((1, 0.0), (5, 2.0), (1, 10.0), (2, 11.0)):
        clock.now = now
        progress.on_event(step(0, "fp", 1, n, 10))
    assert progress.running[0].speed.steps_per_second == 1.0


def step(number: int, phase: str, epoch: int, n: int, steps: int) -> Stepped:
    return Stepped(number, "worker 1", phase, epoch, n, steps)


def test_no_time_has_passed_before_a_search_has_begun() -> None:
    progress = SearchProgress(fp_epochs=4, qat_epochs=2, clock=Clock())
    assert (progress.begun, progress.elapsed) == (False, 0)
    progress.on_event(SearchStarted(planned=3, trained=0, feasible=9, size=20, sampled=False))
    assert (progress.begun, progress.elapsed) == (True, 0)


def searching() -> tuple[SearchProgress, Clock]:
    clock = Clock()
    progress = SearchProgress(fp_epochs=4, qat_epochs=2, clock=clock)
    progress.on_event(SearchStarted(planned=3, trained=0, feasible=9, size=20, sampled=False))
    progress.on_event(started(0, 0))
    return progress, clock


def test_nothing_is_estimated_before_an_epoch_has_been_timed() -> None:
    progress, clock = searching()
    clock.now += 5
    assert progress.remaining is None
    assert progress.elapsed == 5


def test_the_first_trial_is_projected_from_its_epochs() -> None:
    progress, clock = searching()
    clock.now += 10
    progress.on_event(epoch(0, "fp", 1, 4, 10.0))
    running = 3 * 10 + 2 * 10 * UNKNOWN_RATIO
    assert progress.remaining == running + 2 * (10 + running)


def test_fractions_of_an_epoch_count() -> None:
    progress, clock = searching()
    clock.now += 10
    progress.on_event(epoch(0, "fp", 1, 4, 10.0))
    before = progress.remaining
    progress.on_event(step(0, "fp", 2, 5, 10))
    assert before - progress.remaining == (1 + 2) * 5  # half an epoch less, of this trial and of the two after it


def test_later_trials_are_estimated_from_finished_ones() -> None:
    progress, clock = searching()
    clock.now += 60
    progress.on_event(epoch(0, "qat", 2, 2, 10.0))
    progress.on_event(TrialFinished(0, Outcome.COMPLETE, 0.7, "", 1, 3))
    assert progress.remaining == 2 * 60
    assert progress.best == (0.7, 0)
    progress.on_event(started(1, 1))
    progress.on_event(step(1, "qat", 1, 1, 2))
    assert progress.remaining == 1 * 60 + 1.5 * 10


def test_the_best_so_far_is_that_of_earlier_runs_until_a_trial_within_the_budget_beats_it() -> None:
    progress, _ = searching()
    progress.on_event(SearchStarted(5, 3, 9, 20, False, best_number=2, best_accuracy=0.6))
    assert progress.best == (0.6, 2)
    for number, accuracy, within, best in (
        (3, 0.5, True, (0.6, 2)),
        (4, 0.9, False, (0.6, 2)),
        (5, 0.7, True, (0.7, 5)),
    ):
        progress.on_event(TrialFinished(number, Outcome.COMPLETE, accuracy, "", number, 5, within))
        assert progress.best == best


def test_a_finished_search_has_nothing_left() -> None:
    progress, clock = searching()
    clock.now += 60
    for number in range(3):
        progress.on_event(started(number, number))
        progress.on_event(TrialFinished(number, Outcome.CRASHED, None, "x", number + 1, 3))
    assert progress.remaining == 0
    assert progress.best is None


def test_two_workers_halve_the_estimate() -> None:
    progress, clock = searching()
    progress.planned = 5
    progress.on_event(started(1, 0))
    clock.now += 20
    for number in range(2):
        progress.on_event(epoch(number, "qat", 1, 2, 20.0))
    each = 20 + 20  # seconds of a trial: those that passed and one more epoch
    assert progress.remaining == (3 * each + 2 * 20) / 2


def test_a_trial_whose_worker_died_runs_no_more() -> None:
    progress, _ = searching()
    progress.on_event(WorkerLost(0, "worker 1", "ended by signal 9 (SIGKILL)"))
    assert progress.running == {}
    progress.on_event(started(0, 0))
    assert list(progress.running) == [0]


def test_a_space_of_fewer_configurations_than_trials_ends_with_them() -> None:
    progress, clock = searching()
    progress.on_event(SearchStarted(planned=40, trained=0, feasible=3, size=3, sampled=False))
    progress.on_event(started(0, 0))
    clock.now += 10
    progress.on_event(epoch(0, "qat", 1, 2, 10.0))
    assert progress.remaining == 10 + 2 * 20
    progress.on_event(SearchStarted(planned=40, trained=0, feasible=3, size=10**9, sampled=True))
    assert progress.remaining == 10 + 39 * 20
