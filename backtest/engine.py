"""`simulate()`: validate, make arrays, call the loops, label the result."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from backtest.kernel import layout as at
from backtest.kernel import loop, run
from backtest.kernel.orders import HOLD
from backtest.prepare import Decisions, Prepared
from backtest.records import Run
from data.errors import BadInput

Floats = npt.NDArray[np.float64]

RESERVED = ("stop_loss", "take_profit", "trailing_stop", "limit_offset", "limit_ttl")
"""In the order of layout.R_*."""


def run_prepared(prepared: Prepared, decisions: Decisions, *, jit: bool = True) -> Run:
    """One simulation of a stream of decisions, with every row and series."""
    stage = run.stage(prepared)
    sets = decided(decisions, prepared.warmup)
    state = run.begin(stage, sets, keep=True)
    quiet = loop.exposure_loop(several=prepared.k > 1, jit=jit)
    try:
        kept = run.walk(stage, sets, quiet, state)
    except run.BadDecision as bad:
        raise BadInput(f"bar {bad.bar}, symbol {bad.symbol}: the target is {bad.value}, which is no exposure") from None
    return run.as_run(state, kept)


def decided(decisions: Decisions, warmup: int) -> run.Sets:
    """A stream of decisions as the one set of a run."""
    columns = [decisions.target]
    reserved = np.full((1, len(RESERVED), 2), -1.0)
    reserved[:, :, 0] = np.nan
    for row, name in enumerate(RESERVED):
        values = getattr(decisions, name)
        if values is not None:
            reserved[0, row, 1] = len(columns)
            columns.append(values)
    return run.Sets(
        features=np.ascontiguousarray(np.stack(columns), dtype=np.float64),
        columns=np.zeros((1, 1)),
        parameters=np.zeros((1, 0)),
        reserved=reserved,
        warmup=np.array([warmup], dtype=np.int64),
    )


_ = (at, HOLD)
