"""Both ends of a process that this one starts and talks to: pickled messages through its standard input and output.

A child whose standard input ends (its starter is gone, however it ended) ends at once: nothing is left over. What its
program prints goes to its standard error, which is kept for messages about its death.
"""

from __future__ import annotations

import json
import os
import pickle
import queue
import signal
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Any

STDERR_TAIL = 4000  # characters
# The path is handed over, so that the child imports the same modules wherever it is started.
PROGRAM = (
    "import importlib, json, sys; sys.path[:] = json.loads(sys.argv[1]); importlib.import_module(sys.argv[2]).main()"
)


class ChildProcess:
    """A process that runs `module.main()`, seen by its starter.

    `take` (which may be replaced) gets every message of it, in a thread of this process, and None at its end; `ended`
    says that this has come. It leads a process group of its own, so that Ctrl-C reaches its starter alone.
    """

    def __init__(self, module: str, take: Callable[[Any], None]) -> None:
        self.take = take
        self.ended = False
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 - for as long as the process may be asked about it
        self._process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, json.dumps(sys.path), module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._stderr,
            process_group=0,
        )
        assert self._process.stdout is not None
        threading.Thread(target=self._forward, args=(self._process.stdout,), daemon=True).start()

    @property
    def pid(self) -> int:
        """Its process number."""
        return self._process.pid

    def tell(self, message: object) -> None:
        """Send a message; one to a dead process is lost, its death is an event of its own."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            pickle.dump(message, self._process.stdin)
            self._process.stdin.flush()

    def kill(self) -> None:
        """End it and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        with suppress(BrokenPipeError):
            assert self._process.stdin is not None
            self._process.stdin.close()

    def ending(self) -> str:
        """How it ended; waits for that."""
        code = self._process.wait()
        return f"by signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"with exit code {code}"

    def stderr(self) -> str:
        """The last of what it printed as errors."""
        self._stderr.seek(0)
        return self._stderr.read().decode(errors="replace")[-STDERR_TAIL:]

    def _forward(self, stream: IO[bytes]) -> None:
        """Hand every message to `take`, and None at the end."""
        try:
            with suppress(EOFError, pickle.UnpicklingError), stream:
                while True:
                    self.take(pickle.load(stream))
        finally:
            self.ended = True
            self.take(None)


class Starter:
    """The process that started this one, seen by the child: gives orders and answers, gets messages."""

    def __init__(self) -> None:
        self._events = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
        os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # whatever prints must not disturb the messages
        # Not sys.stdin itself: forked loader processes close it, and would wait for ever for the listener's lock.
        self._orders = os.fdopen(os.dup(sys.stdin.fileno()), "rb")
        self._messages: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._listener = threading.Thread(target=self._listen, daemon=True)
        self._listener.start()

    def hear(self) -> Any:
        """The next order or answer."""
        return self._messages.get()

    def tell(self, message: object) -> None:
        """Send a message."""
        pickle.dump(message, self._events)
        self._events.flush()

    def wait_for_the_end(self) -> None:
        """Stay until the starter ends this process, so that its partners do not see it go first."""
        self._listener.join()

    def _listen(self) -> None:
        try:
            while True:
                self._messages.put(pickle.load(self._orders))
        except EOFError:
            pass  # the starter is gone: no reason to go on, and nothing to be tidied up that is not on disk
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(1)
