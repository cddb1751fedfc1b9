"""A PostgreSQL server of the tests' own, on a free loopback port, that can be stopped and started."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

PASSWORD = "s3cret pass/word"
HOW_TO_INSTALL = "PostgreSQL's server programs are not installed; apt-get install postgresql"


@dataclass(frozen=True)
class Server:
    """A cluster in `folder` of which `programs` are the binaries."""

    folder: Path
    programs: Path
    port: int

    @property
    def url(self) -> str:
        """Of the database of user `me`, with the password."""
        return f"postgresql://me:s3cret%20pass%2Fword@127.0.0.1:{self.port}/postgres"

    def start(self) -> None:
        options = f"-c listen_addresses=127.0.0.1 -p {self.port} -k {self.folder} -c fsync=off"
        self._call("pg_ctl", "-w", "-l", str(self.folder / "log"), "-o", options, "start")

    def stop(self) -> None:
        """At once, as a crash would: clients are cut off."""
        self._call("pg_ctl", "-w", "-m", "immediate", "stop")

    def create(self) -> None:
        password = self.folder / "password"
        password.write_text(PASSWORD)
        if os.getuid() == 0:
            for path in (self.folder, password):
                shutil.chown(path, "postgres")
        self._call("initdb", "-U", "me", "-A", "scram-sha-256", f"--pwfile={password}", "--no-sync")

    def _call(self, program: str, *arguments: str) -> None:
        """Run one of the programs; as another user where we are root, which they refuse."""
        user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if os.getuid() == 0 else []
        command = [*user, str(self.programs / program), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=self.folder)


@contextmanager
def running_server() -> Iterator[Server]:
    """A running server; skips the test where PostgreSQL is not installed, and fails it there in CI."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    on_path = shutil.which("pg_ctl")
    programs = found[-1].parent if found else Path(on_path).parent if on_path else None
    if programs is None:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(HOW_TO_INSTALL)
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        server = Server(Path(name), programs, port)
        server.create()
        server.start()
        try:
            yield server
        finally:
            server.stop()
