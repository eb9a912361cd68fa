"""Runs `unwind` commands that are meant to be killed, each in a fork of one process that has imported everything once.

Speaks JSON lines on standard input and output: {"run": [words], "out": path} gives {"pid": n}, {"wait": pid} gives
{"status": n}, the exit code or minus the signal. {"record": {...}} runs the recorder of that plan, whose intervals may
be shorter than a command's.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from backtest.cli import main as unwind

sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def preload() -> None:
    """What takes long to import; polars is left out, whose threads do not outlive a fork."""
    import duckdb
    import pandas as pd
    import pyarrow as pa

    from data import store
    from data.recording import recorder
    from data.sources import stream_feed, stream_snapshots

    del duckdb, pa, pd, store, recorder, stream_feed, stream_snapshots


def record(plan: dict[str, Any]) -> int:
    """`unwind record --json`, with a plan in the place of its options."""
    from data.recording.plan import Plan
    from data.recording.recorder import record

    def say(status: Any) -> None:
        print(json.dumps(status.plain()), flush=True)  # noqa: T201

    say(record(Plan(**plan | {"store": Path(plan["store"])}), say, (signal.SIGINT, signal.SIGTERM)))
    return 0


def child(job: Callable[[], int], out: str) -> None:
    file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(os.open(out + ".err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    code = 70
    try:
        code = job()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    preload()
    for line in sys.stdin:
        asked = json.loads(line)
        if "wait" not in asked:
            pid = os.fork()
            if pid == 0:
                job = partial(unwind, asked["run"]) if "run" in asked else partial(record, asked["record"])
                child(job, asked["out"])
            print(json.dumps({"pid": pid}))  # noqa: T201
        else:
            status = os.waitpid(asked["wait"], 0)[1]
            print(json.dumps({"status": os.waitstatus_to_exitcode(status)}))  # noqa: T201


if __name__ == "__main__":
    main()
