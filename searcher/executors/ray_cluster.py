"""Trials on a Ray cluster: one actor a worker, placed wherever a trial's share of a machine is free.

A worker has at most one call under way, whose result is its next message; the death of the worker is the call's error.
Jobs wait here until a worker is placed for them, so that none depends on one that the cluster has no room for.
"""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bhvit.errors import InvalidInput
from searcher.executors.executor import Failed, Message, Stepped, Train, Trained, TrialJob, WorkerDied
from searcher.executors.placement import Placement, resources_text
from searcher.executors.ray_connection import connect, machines, ray
from searcher.executors.ray_worker import RayWorker

LOOK_S = 2.0  # between two looks at the cluster's machines
PATIENCE_S = 10.0  # until trials that wait for a place are worth a word
STARTS_ALLOWED = 5  # of workers in a row that died before they ran


@dataclass(eq=False)
class _Worker:
    number: int
    actor: Any
    name: str
    placed: bool = False  # whether it has ever answered
    job: TrialJob | None = None
    call: Any = None  # under way


class RayExecutor:
    """As many workers as `slots`, or as the cluster has room for; see `Placement` for what each of them takes.

    `address` is that of a running cluster (`auto`: the one that this machine is part of); without it, Ray is started
    here and ended with the executor. `gpus_per_trial` is by default 1 where the cluster has GPUs, else 0. Where more
    `slots` are asked for than there is room, trials wait (`trouble` says so) until others end or nodes join. Workers
    are no longer than this process: Ray ends them when it dies. `train` is imported by the workers from this process's
    import path where they see it, else from what is installed on their machine.
    Raises `InvalidInput` where no cluster is at `address`, or none of its machines can take a trial.
    """

    def __init__(
        self,
        train: Train,
        *,
        address: str | None = None,
        slots: int | None = None,
        gpus_per_trial: float | None = None,
        cpus_per_trial: float = 1.0,
    ) -> None:
        self._train, self._asked = train, slots
        self._workers: list[_Worker] = []
        self._waiting: deque[TrialJob] = deque()
        self._waiting_since = 0.0
        self._failed_starts = 0
        self._room, self._looked_at = 0, -LOOK_S
        self._connected_here = not ray.is_initialized()
        if self._connected_here:
            connect(address, cpus=0.0 if slots is None else slots * cpus_per_trial)
        try:
            if gpus_per_trial is None:
                gpus_per_trial = float(any(machine.get("GPU") for machine in machines()))
            self._placement = Placement(cpus_per_trial, gpus_per_trial)
            self._require_room()
        except BaseException:
            self.close()
            raise

    @property
    def slots(self) -> int:
        """What was asked for, or what the machines of the cluster have room for by now (at least 1)."""
        return self._asked or max(1, self._capacity())

    @property
    def trouble(self) -> str | None:
        """What the user should know: that trials have waited for a place for a while."""
        if not self._waiting or time.monotonic() - self._waiting_since < PATIENCE_S:
            return None
        return f"{len(self._waiting)} trials wait for room in the Ray cluster, each for {self._placement}"

    def submit(self, job: TrialJob) -> None:
        """Begin `job` as soon as a worker is there; one that runs already if it is free."""
        self._wait(job)
        self._call_workers()

    def next_message(self, timeout: float) -> Message | None:
        """The next message; None where none came in time."""
        deadline = time.monotonic() + timeout
        while True:
            left = max(0.0, deadline - time.monotonic())
            calls = {worker.call: worker for worker in self._workers if worker.call is not None}
            if not calls:
                time.sleep(left)
                return None
            try:
                ended, _ = ray.wait(list(calls), timeout=left)
            except ray.exceptions.RayError as error:
                raise _gone(error) from error
            if not ended:
                return None
            message = self._take(calls[ended[0]])
            if message is not None:
                return message

    def answer(self, number: int, stop: bool) -> None:
        """Answer an epoch; where the worker died meanwhile, that is its next message."""
        for worker in self._workers:
            if worker.job is not None and worker.job.number == number:
                worker.call = worker.actor.go_on.remote(stop)

    def close(self) -> None:
        """Kill all workers, leave the cluster, and end it if it was started here."""
        for worker in self._workers:
            with suppress(ray.exceptions.RayError):  # a cluster that is gone has no workers either
                ray.kill(worker.actor)
        self._workers.clear()
        self._waiting.clear()
        if self._connected_here:
            self._connected_here = False
            ray.shutdown()

    def _wait(self, job: TrialJob) -> None:
        if not self._waiting:
            self._waiting_since = time.monotonic()
        self._waiting.append(job)

    def _call_workers(self) -> None:
        """Ask as many workers as trials wait whether they are there, and start those that are missing."""
        called = [w for w in self._workers if w.job is None and w.call is not None]
        idle = [w for w in self._workers if w.job is None and w.call is None]
        for _ in range(len(self._waiting) - len(called)):
            worker = idle.pop() if idle else self._start()
            worker.call = worker.actor.ready.remote()

    def _start(self) -> _Worker:
        number = min(set(range(1, len(self._workers) + 2)) - {worker.number for worker in self._workers})
        share = self._placement
        actor = ray.remote(RayWorker).options(
            num_cpus=share.cpus,
            num_gpus=share.gpus,
            scheduling_strategy="SPREAD",
            runtime_env={"env_vars": _environment(share)},
        )
        worker = _Worker(number, actor.remote(number, self._train), f"worker {number}")
        self._workers.append(worker)
        return worker

    def _take(self, worker: _Worker) -> Message | None:
        """What the ended call of `worker` means."""
        call, worker.call = worker.call, None
        try:
            said: str | Message = ray.get(call)
        except ray.exceptions.RayError as error:
            return self._lost(worker, error)
        if isinstance(said, str):
            worker.name, worker.placed, self._failed_starts = said, True, 0
            self._employ(worker)
            return None
        if isinstance(said, Stepped):
            worker.call = worker.actor.go_on.remote()
        elif isinstance(said, Trained | Failed):
            self._employ(worker)
        return said

    def _employ(self, worker: _Worker) -> None:
        """Give a free worker the trial that has waited longest, if there is one."""
        worker.job = self._waiting.popleft() if self._waiting else None
        if worker.job is not None:
            self._waiting_since = time.monotonic()
            worker.call = worker.actor.begin.remote(worker.job)

    def _lost(self, worker: _Worker, error: ray.exceptions.RayError) -> Message | None:
        """Bury a worker; the death of its trial, or of one that waits where no worker can be started."""
        self._workers.remove(worker)
        ray.kill(worker.actor)  # one that only seems to be dead
        message: Message | None = None
        if worker.job is not None:
            message = WorkerDied(worker.job.number, worker.name, f"is gone: {_reason(error)}")
        elif not worker.placed and self._waiting:
            self._failed_starts += 1
            if _is_hopeless(error) or self._failed_starts == STARTS_ALLOWED:
                text = (
                    f"workers must be able to start on every machine of the cluster, but {_reason(error)}; install "
                    "there what is installed here."
                )
                message = Failed(self._waiting.popleft().number, worker.name, InvalidInput.__name__, text, str(error))
        self._call_workers()
        return message

    def _require_room(self) -> None:
        if self._capacity():
            return
        sizes = {resources_text(machine) for machine in machines()}
        raise InvalidInput(
            f"a machine of the Ray cluster must have room for a trial, which takes {self._placement}, but they have "
            f"{', '.join(sorted(sizes))}; use a smaller --gpus-per-trial, or add a machine by ray start."
        )

    def _capacity(self) -> int:
        """How many trials the machines of the cluster have room for, as of a moment ago."""
        if time.monotonic() - self._looked_at >= LOOK_S:
            try:
                self._room, self._looked_at = sum(map(self._placement.fits, machines())), time.monotonic()
            except ray.exceptions.RayError as error:
                raise _gone(error) from error
        return self._room


def _gone(error: ray.exceptions.RayError) -> InvalidInput:
    reason = " ".join(str(error).split())[:200]
    return InvalidInput(f"the Ray cluster does not answer any more ({reason}); start it, then the same command again.")


def _is_hopeless(error: ray.exceptions.RayError) -> bool:
    """Whether another worker could not be started either."""
    if isinstance(error, ray.exceptions.RayActorError):
        return error.actor_init_failed
    return isinstance(error, ray.exceptions.RayTaskError | ray.exceptions.RuntimeEnvSetupError)


def _environment(placement: Placement) -> dict[str, str]:
    """Environment of a worker: it imports what we import where it sees it, and sees no GPU that it was not given."""
    ours = [Path(entry or ".").resolve() for entry in sys.path]
    installed = [Path(prefix).resolve() for prefix in (sys.prefix, sys.base_prefix)]
    paths = [str(path) for path in ours if not any(path.is_relative_to(prefix) for prefix in installed)]
    variables = {"PYTHONPATH": os.pathsep.join([*paths, "${PYTHONPATH}"])}
    return variables if placement.gpus else {**variables, "CUDA_VISIBLE_DEVICES": ""}


def _reason(error: ray.exceptions.RayError) -> str:
    """In one line why a worker is gone, without Ray's advice."""
    if isinstance(error, ray.exceptions.ActorUnavailableError):
        return "its machine cannot be reached"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    reason = lines[-1].removeprefix("The actor is dead because ").partition("Some common causes")[0]
    what, _, detail = reason.partition(" Worker exit type: ")
    detail = detail.partition("Worker exit detail: ")[2]
    return (f"{what.rstrip('.')}: {detail}" if detail else what).strip().rstrip(".")
