"""Runs `unwind` commands that are meant to be killed, each in a fork of one process that has imported everything once.

Speaks JSON lines on standard input and output: {"run": [words], "out": path} gives {"pid": n}, {"wait": pid} gives
{"status": n}, the exit code or minus the signal.
"""

from __future__ import annotations

import json
import os
import sys

from backtest.cli import main as unwind

sys.stdout.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def preload() -> None:
    """What takes long to import; polars is left out, whose threads do not outlive a fork."""
    import duckdb

    from data import store
    from data.recording import recorder
    from data.sources import stream_feed, stream_snapshots

    del duckdb, store, recorder, stream_feed, stream_snapshots


def child(words: list[str], out: str) -> None:
    file = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(file, 1)
    os.dup2(os.open(out + ".err", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    code = 70
    try:
        code = unwind(words)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main() -> None:
    preload()
    for line in sys.stdin:
        asked = json.loads(line)
        if "run" in asked:
            pid = os.fork()
            if pid == 0:
                child(asked["run"], asked["out"])
            print(json.dumps({"pid": pid}))  # noqa: T201
        else:
            status = os.waitpid(asked["wait"], 0)[1]
            print(json.dumps({"status": os.waitstatus_to_exitcode(status)}))  # noqa: T201


if __name__ == "__main__":
    main()
