"""A real scheduler and real workers, each a process of its own on loopback, to be killed at will."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


class Machines:
    """Processes by name; all that are left end with it."""

    def __init__(self, logs: Path) -> None:
        self.logs, self.port = logs, free_port()
        self.processes: dict[str, subprocess.Popen[bytes]] = {}

    @property
    def address(self) -> str:
        return f"tcp://127.0.0.1:{self.port}"

    def scheduler(self) -> None:
        self._start("scheduler", "dask_scheduler", "--host", "127.0.0.1", "--port", str(self.port))
        give_up = time.monotonic() + 60.0
        while time.monotonic() < give_up:
            with socket.socket() as one:
                if one.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.1)
        raise TimeoutError((self.logs / "scheduler.log").read_text())

    def worker(self, name: str, first: str | Path = "", **environment: str) -> None:
        """`first`: a folder that it imports from before any other."""
        known = os.environ.get("PYTHONPATH", "")
        path = os.pathsep.join(str(p) for p in (first, Path(__file__).parent, known) if p)
        words = (self.address, "--name", name, "--nthreads", "1", "--no-nanny", "--memory-limit", "0")
        self._start(name, "dask_worker", *words, environment={"PYTHONPATH": path, **environment})

    def _start(self, name: str, module: str, *words: str, environment: Mapping[str, str] | None = None) -> None:
        with (self.logs / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    f"distributed.cli.{module}",
                    *words,
                    "--no-dashboard",
                    "--dashboard-address",
                    "127.0.0.1:0",
                ],
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=self.logs,
                start_new_session=True,
            )

    def kill(self, name: str) -> None:
        """As a machine that loses its power."""
        process = self.processes.pop(name)
        process.send_signal(signal.SIGKILL)
        process.wait(30)

    def end(self) -> None:
        for name in list(self.processes):
            self.kill(name)


def another_version(folder: Path) -> Path:
    """A folder from which unwind is imported with another source, beside another version of numba's metadata."""
    for package in ("backtest", "data", "strategies"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "backtest" / "metrics.py").open("a") as file:
        file.write("\n# an edit that was not installed everywhere\n")
    about = folder / "numba-0.1.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: numba\nVersion: 0.1\n")
    return folder
