"""Markets and runs for the tests of the report, and a page taken apart again."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from data import market_input
from data.align import Bars
from data.clock import DAY, HOUR, MINUTE
from data.market import Market, SymbolData

Floats = npt.NDArray[np.float64]
START = 19_723 * DAY  # 2024-01-01
ALFA = "ALFA/USDT:USDT"
EVIL = "<script>document.title='owned'</script>/USDT:USDT"


def symbol(
    seed: int, bars: int, step: int, *, holes: float = 0.0, instrument: Mapping[str, Any] | None = None
) -> SymbolData:
    """Everything that a report draws: marks, funding, open interest, liquidations. `holes`: part of bars left out."""
    rng = np.random.default_rng(seed)
    ts = START + np.arange(bars, dtype=np.int64) * step
    close = 100.0 * np.exp(np.cumsum(0.004 * np.sqrt(step / (10 * MINUTE)) * rng.standard_normal(bars)))
    open_ = np.concatenate([close[:1], close[:-1]])
    ohlc = (open_, np.maximum(open_, close) * 1.001, np.minimum(open_, close) * 0.999, close)
    traded = rng.lognormal(9.0, 0.5, bars)
    here = rng.random(bars) >= holes
    here[[0, -1]] = True
    at = np.arange(START, START + bars * step, max(step, 8 * HOUR), dtype=np.int64)
    hits = np.where(rng.random(bars) < 0.05, rng.lognormal(9.0, 1.0, bars), 0.0)
    long = rng.random(bars) < 0.5
    return SymbolData(
        candles=Bars(
            step, ts[here], *(c[here] for c in ohlc), volume=traded[here], quote_volume=(traded * close)[here]
        ),
        marks=[Bars(step, ts[here], *(c[here] for c in ohlc))],
        funding=market_input.Settlements(
            at, at, at, 0.0002 * rng.standard_normal(len(at)), np.full(len(at), 8.0), np.full(len(at), np.nan)
        ),
        open_interest=market_input.Points(
            ts[here], ts[here], step, {"quantity": traded[here] * 50, "value": (traded * close)[here] * 50}
        ),
        liquidations=market_input.Flow(
            ts, ts, np.where(long, hits, 0.0), np.where(long, 0.0, hits), "sampled", [(START, START + bars * step)]
        ),
        instrument=instrument,
    )


def market(
    names: Sequence[str] = (ALFA,), bars: int = 1728, step: int = 10 * MINUTE, *, holes: float = 0.0, seed: int = 1,
    instrument: Mapping[str, Any] | None = None,
) -> Market:  # fmt: skip
    data = {name: symbol(seed + i, bars, step, holes=holes, instrument=instrument) for i, name in enumerate(names)}
    return Market.build("made-up", data, step, START, START + bars * step)


def targets(one: Market, size: float = 1.0, every: int = 24, seed: int = 3, lowest: float = -1.0) -> Any:
    """Exposures that change every so many bars, flat at the end."""
    rng = np.random.default_rng(seed)
    n, k = len(one), len(one.symbols)
    steps = rng.integers(int(lowest), 2, (-(-n // every), k)).astype(np.float64) * size / k
    drawn = np.repeat(steps, every, axis=0)[:n]
    drawn[-3:] = 0.0
    if k == 1:
        return drawn[:, 0]
    import pandas as pd

    return pd.DataFrame(drawn, columns=list(one.symbols))


def packed(html: str) -> dict[str, Any]:
    """Charts and rows of explorers, by their ids."""
    found = re.search(r'<script type="text/plain" id="packed">(.*?)</script>', html, re.DOTALL)
    assert found is not None
    content = json.loads(gzip.decompress(base64.b64decode(found[1])))
    return {one["id"]: one for one in (*content["charts"], *content["rows"])}


def trace(chart: Mapping[str, Any], name: str) -> dict[str, Any]:
    return next(one for one in chart["data"] if one["name"] == name)
