"""What must hold whatever is written: the store against a plain model, and no look-ahead through it."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from example_counts import many
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from data.clock import MINUTE, moment, naive
from data.errors import BadRow
from data.rows import Batch, Origin, Rows
from data.store import Store

SYMBOLS = ("BTC/USDT:USDT", "ETH/USDT:USDT")
START = moment("2024-01-31 23:50")  # the rows lie on both sides of a month's end
VALUES = st.sampled_from([0.0, 1.0, 1.5, 2.0**-30])


class StoreAgainstModel(RuleBasedStateMachine):
    """Writes of any overlap leave what a dictionary would hold, and count what they did."""

    batches = Bundle("batches")

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.store = Store(self.folder / "s.duckdb")
        self.model: dict[tuple[str, int], float] = {}

    @rule(
        target=batches,
        rows=st.dictionaries(st.tuples(st.sampled_from(SYMBOLS), st.integers(0, 25)), VALUES, min_size=1, max_size=12),
        doubled=st.booleans(),
    )
    def make(self, rows: dict[tuple[str, int], float], doubled: bool) -> pd.DataFrame:
        frame = pd.DataFrame(
            [(s, naive(START + i * MINUTE), q) for (s, i), q in rows.items()], columns=["symbol", "ts", "quantity"]
        )
        return pd.concat([frame, frame.iloc[::2]]) if doubled else frame

    @rule(frame=batches)
    def write(self, frame: pd.DataFrame) -> None:
        incoming = {
            (s, moment(ts)): q for s, ts, q in zip(frame["symbol"], frame["ts"], frame["quantity"], strict=True)
        }
        done = self.store.write(Batch((Rows("open_interest", frame, {"venue": "v", "interval_s": 60}),), ()))
        new = [k for k in incoming if k not in self.model]
        changed = [k for k in incoming if k in self.model and self.model[k] != incoming[k]]
        self.model |= incoming
        assert (done.inserted, done.changed) == (len(new), len(changed))
        # A part that is stored already is recognised whole, before doubled rows are looked for.
        assert done.unchanged + done.doubled == len(frame) - len(new) - len(changed)

    @rule(frame=consumes(batches))
    def contradict(self, frame: pd.DataFrame) -> None:
        before = self.store.fingerprint()
        wrong = pd.concat([frame, frame.iloc[:1].assign(quantity=77.0)])
        with pytest.raises(BadRow, match="same key"):
            self.store.write(Batch((Rows("open_interest", wrong, {"venue": "v", "interval_s": 60}),), ()))
        assert self.store.fingerprint() == before

    @rule()
    def compact(self) -> None:
        self.store.compact()

    @invariant()
    def holds_the_model(self) -> None:
        rows = self.store.query("SELECT symbol, epoch_us(ts) * 1000 AS ts, quantity FROM open_interest").to_pylist()
        assert len(rows) == len(self.model)
        assert {(r["symbol"], r["ts"]): r["quantity"] for r in rows} == self.model

    def teardown(self) -> None:
        if hasattr(self, "folder"):
            shutil.rmtree(self.folder)


TestStoreAgainstModel = StoreAgainstModel.TestCase
TestStoreAgainstModel.settings = settings(max_examples=8, stateful_step_count=10, deadline=None)


# ---- no look-ahead -------------------------------------------------------------------------------------------------

N = 24  # bars of one minute
KEY = {"venue": "v", "symbol": SYMBOLS[0]}
LATER = 2 * 60  # seconds: rows may be known up to two minutes after their time


@st.composite
def facts(draw: st.DrawFn) -> list[tuple[str, dict[str, Any]]]:
    """Rows of every kind with any time of their own and any time of knowledge after it."""
    out = []
    for table, extra in (
        ("open_interest", {"interval_s": 60, "quantity": 1.0}),
        ("ratios", {"interval_s": 120, "kind": "accounts", "ratio": 1.0}),
        ("depth", {"interval_s": 60, "percent": -1.0, "notional": 1.0}),
        ("funding", {"interval_hours": 1.0, "rate": 1e-4}),
        (
            "liquidations",
            {"position": "long", "price": 1.0, "price_kind": "average", "feed": "complete", "quantity": 1.0},
        ),
        ("liquidation_bars", {"interval_s": 60, "long_notional": 1.0, "feed": "aggregated"}),
        ("candles", {"interval_s": 60, "price": "mark"}),
        ("candles", {"interval_s": 240, "price": "mark"}),
        ("candles", {"interval_s": 240, "price": "index"}),
        ("candles", {"interval_s": 60, "price": "premium"}),
    ):
        for _ in range(draw(st.integers(0, 4))):
            interval = int(extra.get("interval_s", 60))
            step = interval if table in ("candles", "liquidation_bars") else 15
            ts = START // 240_000_000_000 * 240 + draw(st.integers(-8, N * 60 // step)) * step
            value = draw(st.floats(1.0, 2.0))
            row: dict[str, Any] = {**extra, "ts": ts}
            if table == "candles":
                row |= {"open": value, "high": value + 1, "low": value - 1, "close": value, "known": ts + interval}
            else:
                name = next(n for n in ("quantity", "ratio", "notional", "rate", "long_notional") if n in extra)
                ended = interval if table == "liquidation_bars" else 0
                row |= {name: value * extra[name], "known": ts + ended + draw(st.integers(0, LATER))}
            if table == "liquidations":
                row |= {"event_id": str(draw(st.integers(0, 3))), "notional": value}
            out.append((table, row))
    return out


def write(store: Store, rows: list[tuple[str, dict[str, Any]]]) -> None:
    """One row at a time, in order: a repeated key is a correction, which the property does not speak of."""
    batches = []
    for table, row in rows:
        frame = pd.DataFrame([{k: v for k, v in row.items() if k not in ("ts", "known")}])
        frame["ts"] = naive(row["ts"] * 1_000_000_000)
        if table != "candles":
            frame["known_at"] = naive(row["known"] * 1_000_000_000)
        batches.append(Batch((Rows(table, frame, KEY),), ()))
    if batches:
        store.write(batches)


def unique(rows: list[tuple[str, dict[str, Any]]]) -> list[tuple[str, dict[str, Any]]]:
    """Without rows that are the same fact known at the same time."""
    names = ("known", "interval_s", "price", "kind", "event_id")
    seen: dict[Any, tuple[str, dict[str, Any]]] = {}
    for table, row in rows:
        hour = (row["ts"] + 1800) // 3600 * 3600
        stamp = hour if table == "funding" and abs(row["ts"] - hour) <= 60 else row["ts"]
        seen.setdefault((table, stamp, *(row.get(n) for n in names)), (table, row))
    return list(seen.values())


@settings(
    max_examples=many(30), deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)
@given(rows=facts(), bar=st.integers(1, N))
def test_what_is_known_later_changes_nothing_before(rows: list[tuple[str, dict[str, Any]]], bar: int) -> None:
    opens = START // 240_000_000_000 * 240
    cut = opens + bar * 60  # decisions up to here
    rows = unique(rows)
    early = [(t, r) for t, r in rows if r["known"] < cut or (t == "candles" and r["known"] <= cut)]
    late = [(t, r) for t, r in rows if (t, r) not in early]
    i = np.arange(N, dtype=float)
    trade = pd.DataFrame(
        {"ts": [naive((opens + k * 60) * 1_000_000_000) for k in range(N)], "open": 1.0 + i, "close": 1.0 + i}
    )
    trade = trade.assign(high=trade["close"] + 0.5, low=trade["open"] - 0.5)
    folder = Path(tempfile.mkdtemp())
    try:
        store = Store(folder / "s.duckdb")
        covers = (START - 10 * MINUTE, cut * 1_000_000_000)
        origin = Origin("t", "trade", covers=covers, tables=("liquidations",))
        store.write(Batch((Rows("candles", trade, {**KEY, "price": "trade", "interval_s": 60}),), (origin,)))
        write(store, early)
        before = store.market(SYMBOLS[0], "1m").features_view()
        write(store, late)
        after = store.market(SYMBOLS[0], "1m").features_view()
        then = store.market(SYMBOLS[0], "1m", as_of=naive(cut * 1_000_000_000)).features_view()
        for name in set(before.held) | set(after.held):
            want = getattr(before, name)[:bar]
            np.testing.assert_array_equal(getattr(after, name)[:bar], want, err_msg=f"{name}: later rows changed it")
            np.testing.assert_array_equal(getattr(then, name)[:bar], want, err_msg=f"{name}: as of differs")
    finally:
        shutil.rmtree(folder)
