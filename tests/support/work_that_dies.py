"""Work for pools of processes, some of it deadly. Workers import it by name."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any


def double(x: int) -> int:
    return 2 * x


def dies_once(x: int, folder: str) -> int:
    """The first time its process is killed, as by a machine that is out of memory."""
    mark = Path(folder) / f"{x}.begun"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 2 * x


def dies(name: str) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def refuses(x: int) -> int:
    raise ValueError(f"no {x}")


def sleeps(seconds: float) -> int:
    time.sleep(seconds)
    return os.getpid()


def where_arrays_lie(lent: Any) -> tuple[str, str]:
    """Of a lent market: its hash, and what its closes are a view of."""
    import numpy as np

    market = lent.open()
    base = market.close
    while isinstance(base.base, np.ndarray):
        base = base.base
    return market.hash, type(base.base).__name__ + type(base).__name__


def versions_of_another(wanted: Any) -> None:
    from backtest.executing.tasks import check_versions

    check_versions(wanted)
