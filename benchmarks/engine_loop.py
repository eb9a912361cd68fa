"""engine_loop.c from Python: compile it, lay prepared arrays out for it, run parameter sets through it.

The structures below are those of the C file, field by field.
"""

from __future__ import annotations

import ctypes
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.prepare import Prepared

SOURCE = Path(__file__).with_suffix(".c")
FLAGS = ("-O3", "-march=native", "-shared", "-fPIC")
BLOCK = 2048  # bars: the fastest of 512 to 8192 here

_PRICES = ("open", "high", "low", "close", "mark_open", "mark_high", "mark_low", "mark_close")
_P, _I, _D = ctypes.c_void_p, ctypes.c_int64, ctypes.c_double


class Case(ctypes.Structure):
    _fields_ = (
        [("bars", _I), ("rows", _P), ("half_spread", _P), ("a", _P), ("b", _P), ("delta", _D), ("stops", _I), ("stop", _P)]
        + [("settlements", _I), ("settlement_bar", _P), ("settlement_rate", _P), ("settlement_price", _P)]
        + [("tables", _I), ("table_bar", _P), ("table_first", _P), ("table_count", _P), ("tiers", _P), ("day_end", _P)]
        + [(name, _D) for name in ("taker", "liquidation_fee", "equity", "leverage", "lot")]
        + [("block", _I), ("decide", _P)]
    )  # fmt: skip


class Set(ctypes.Structure):
    _fields_ = (
        [("z", _P), ("build", _P)]
        + [(name, _D) for name in ("entry_z", "exit_z", "leverage", "stop_loss", "take_profit")]
        + [("warmup", _I), ("daily", _P)]
        + [(name, _D) for name in ("wallet", "quantity", "entry", "margin", "before")]
        + [(name, _D) for name in ("stop_level", "profit_level", "liquidation_level", "nearest_mark")]
        + [(name, _D) for name in ("target", "target_quantity", "peak", "worse_below", "now")]
        + [(name, _I) for name in ("next_stop", "next_settlement", "table", "days", "ruined", "peak_bar", "opened")]
        + [(name, _D) for name in ("drawdown", "distance", "fees", "funding", "slippage", "turnover", "liquidation_loss")]
        + [(name, _D) for name in ("bad_debt", "gained", "lost", "exposure")]
        + [(name, _I) for name in ("trades", "wins", "liquidations", "fills", "refused", "scaled", "held")]
        + [(name, _I) for name in ("in_market", "at_peak", "longest_drawdown")]
    )  # fmt: skip


class Loop:
    """The compiled loop, and a market laid out for it."""

    def __init__(self, prepared: Prepared, folder: Path, *, inline: bool = False) -> None:
        self._library = _compiled(folder, inline)
        self._kept: list[Any] = []
        self._prepared = prepared
        self.case = self._case(prepared)

    def run(self, sets: Sequence[Any], features: Sequence[dict[str, Any]], warmups: Sequence[int]) -> list[Set]:
        """Strategies of engine_case.Fade, with the features of each."""
        days = int(self._prepared.day_end[:-1].sum()) + 1
        rows = (Set * len(sets))()
        self.daily = np.zeros((len(sets), days))
        for row, s, made, warmup, daily in zip(rows, sets, features, warmups, self.daily, strict=True):
            row.z, row.build, row.daily = made["z"].ctypes.data, made["build"].ctypes.data, daily.ctypes.data
            row.entry_z, row.exit_z, row.leverage = s.entry_z, s.exit_z, s.leverage
            row.stop_loss, row.take_profit, row.warmup = s.stop_loss, s.take_profit, warmup
        self._library.run_sets(ctypes.byref(self.case), rows, _I(len(sets)))
        return list(rows)

    def _case(self, p: Prepared) -> Case:
        if p.k != 1:
            raise ValueError("the C loop has one symbol")
        rows = np.stack([getattr(p.bars, name)[:, 0] for name in _PRICES], axis=1)
        settled = p.events
        stops = np.union1d(np.union1d(settled["bar"], p.tier_tables["bar"]), np.flatnonzero(p.day_end))
        stops = np.append(np.union1d(stops[stops < p.n], p.n - 1), p.n)
        tiers = np.stack([p.tier_rows[name] for name in p.tier_rows.dtype.names or ()], axis=1)
        t, taking = p.tier_tables, p.taking
        return Case(
            bars=p.n, rows=self._aligned(rows), block=min(BLOCK, p.n), decide=self._rule(),
            half_spread=self._at(taking.half_spread), a=self._at(taking.a), b=self._at(taking.b), delta=taking.delta,
            stops=len(stops), stop=self._at(stops, np.int64),
            settlements=len(settled), settlement_bar=self._at(settled["bar"], np.int64),
            settlement_rate=self._at(settled["rate"]), settlement_price=self._at(settled["price"]),
            tables=len(t), table_bar=self._at(t["bar"], np.int64), table_first=self._at(t["first"], np.int64),
            table_count=self._at(t["count"], np.int64), tiers=self._at(tiers), day_end=self._at(p.day_end, np.uint8),
            taker=p.taker, liquidation_fee=p.liquidation_fee, equity=p.equity, leverage=p.leverage,
            lot=float(p.contracts.lot[0]),
        )  # fmt: skip

    def _rule(self) -> int:
        self._library.the_rule.restype = _P
        return int(self._library.the_rule())

    def _at(self, array: npt.NDArray[Any], dtype: Any = np.float64) -> int:
        kept = np.ascontiguousarray(array, dtype=dtype)
        self._kept.append(kept)
        return int(kept.ctypes.data)

    def _aligned(self, rows: npt.NDArray[np.float64]) -> int:
        """Rows of eight numbers, each in one cache line."""
        room = np.empty(rows.size + 8)
        skip = -room.ctypes.data % 64 // 8
        kept = room[skip : skip + rows.size].reshape(rows.shape)
        kept[:] = rows
        self._kept.append(room)
        return int(kept.ctypes.data)


def _compiled(folder: Path, inline: bool) -> ctypes.CDLL:
    out = folder / f"engine_loop_{'inline' if inline else 'pointer'}.so"
    options = ["-DINLINE_DECIDE"] if inline else []
    subprocess.run(["gcc", *FLAGS, *options, "-o", str(out), str(SOURCE), "-lm"], check=True)
    return ctypes.CDLL(str(out))
