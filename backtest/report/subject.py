"""What a page is about, and the series that several sections share. Everything is reckoned on every bar."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from backtest import metrics
from backtest.hold import hold
from backtest.records import Cash, Why
from backtest.report import words
from data import clock
from data.errors import BadInput, UnwindError

if TYPE_CHECKING:
    import pandas as pd

    from backtest.report.evidence import Evidence
    from backtest.result import Result
    from backtest.sweep import Sweep
    from backtest.walkforward import WalkForward
    from data.market import Market

Array = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]
COSTS = (  # how a gain is taken apart, in the order of the waterfall
    ("slippage", "Slippage", None),
    ("fees", "Fees", Cash.FEE),
    ("funding", "Funding", Cash.FUNDING),
    ("liquidation_fees", "Liquidation fees", Cash.LIQUIDATION_FEE),
    ("insurance", "Insurance fund", Cash.INSURANCE),
    ("interest", "Interest", Cash.INTEREST),
)


@dataclass(frozen=True, eq=False)
class Subject:
    """A run, and what is known around it. `market` must be the one that it was simulated on."""

    result: Result
    name: str = ""
    market: Market | None = None
    evidence: Evidence | None = None
    forward: WalkForward | None = None
    sweep: Sweep | None = None
    events: pd.DataFrame | None = None  # of `strategies.events.find`: start, end, kind, symbol
    stress: pd.DataFrame | None = None  # rows of a stress test
    made_up: bool = False
    notices: tuple[str, ...] = field(default_factory=tuple)

    def __post_init__(self) -> None:
        market = self.market
        if market is not None and (
            market.symbols != self.result.symbols or not np.array_equal(market.ts, self.result.ts)
        ):
            raise BadInput(
                f"this market has {len(market):,} bars of {', '.join(market.symbols)}, and the run "
                f"{len(self.result.ts):,} "
                f"of {', '.join(self.result.symbols)}: give the one that was simulated"
            )

    @property
    def money(self) -> str:
        return self.result.currency

    def amount(self, x: float, *, sign: bool = False) -> str:
        """Money of this account, with as many decimals as its size asks for."""
        return words.amount(x, words.cents(self.start), sign=sign)

    @cached_property
    def closes(self) -> Times:
        return self.result.ts + self.result.interval

    @property
    def start(self) -> float:
        return self.result.start_equity

    @cached_property
    def equity(self) -> Array:
        return np.asarray(self.result.run.series["equity"], dtype=np.float64)

    @cached_property
    def underwater(self) -> Array:
        return -np.asarray(metrics.drawdown(self.equity, self.start))

    @property
    def traded(self) -> bool:
        return len(self.result.run.fills) > 0

    # ---- days

    @cached_property
    def day_places(self) -> npt.NDArray[np.intp]:
        """The last bar of each UTC day."""
        return np.flatnonzero(metrics.day_ends(self.result.ts))

    @cached_property
    def day_closes(self) -> Times:
        return self.closes[self.day_places]

    @cached_property
    def daily(self) -> Array:
        """Returns by day, from the same equity as every measure."""
        return np.asarray(metrics.daily_returns(self.equity[self.day_places], self.start))

    # ---- money

    @cached_property
    def costs(self) -> dict[str, Array]:
        """What each cost took (negative) or brought, summed up to each bar."""
        run, n = self.result.run, len(self.equity)
        out = {}
        for name, _, kind in COSTS:
            if kind is None:
                bars, amounts = run.fills["bar"], -run.fills["slippage"]
            else:
                rows = run.ledger[run.ledger["kind"] == kind]
                bars, amounts = rows["bar"], rows["amount"]
            flow = np.bincount(bars.astype(np.int64), weights=amounts, minlength=n)[:n]
            out[name] = np.cumsum(flow, dtype=np.float64)
        return out

    @cached_property
    def gross(self) -> Array:
        """Equity if the same positions had cost nothing: no slippage, fee, funding, liquidation fee or interest."""
        return np.asarray(self.equity - np.sum(list(self.costs.values()), axis=0))

    @cached_property
    def trades(self) -> npt.NDArray[np.void]:
        return metrics.trades(self.result.run, self.result.kinds)

    @cached_property
    def net(self) -> Array:
        """Of each trade, after all that it paid."""
        return np.asarray(self.trades["profit"], dtype=np.float64)

    @cached_property
    def moved(self) -> Array:
        """Of each trade, what the move of the price made (at its fills, slippage included), before all that it paid."""
        t = self.trades
        return np.asarray(t["profit"] + t["fees"] - t["funding"] - t["insurance"], dtype=np.float64)

    @cached_property
    def reasons(self) -> list[str]:
        names = np.array([why.name.lower().replace("_", " ") for why in Why])
        return [str(name) for name in names[self.trades["why"]]]

    @cached_property
    def benchmark(self) -> tuple[str, Array] | None:
        """Buying and keeping: of several symbols, equal parts. None where there is no market, or nothing to hold."""
        if self.market is None:
            return None
        curves = []
        for symbol in self.market.symbols:
            try:
                one = hold(self.market, symbol, 1, notional=self.start)
            except UnwindError:
                continue
            curves.append(one.equity / one.capital)
        if not curves or any(len(curve) != len(self.equity) for curve in curves):
            return None
        name = "buy and hold" if len(self.market.symbols) == 1 else "buy and hold, equal parts"
        return name, self.start * np.mean(curves, axis=0)

    # ---- shapes

    def by_symbol(self, field_: str) -> Array | None:
        """An array of the market as (bars, symbols)."""
        if self.market is None:
            return None
        values = np.asarray(getattr(self.market, field_), dtype=np.float64)
        return values[:, None] if values.ndim == 1 else values

    @property
    def busiest(self) -> int:
        """The symbol that most was traded of."""
        fills = self.result.run.fills
        if not len(fills):
            return 0
        return int(np.argmax(np.bincount(fills["symbol"], weights=metrics.notional(fills, self.result.kinds))))

    @cached_property
    def ends(self) -> list[int]:
        """First and last close in milliseconds: what axes of time show."""
        return [int(at // clock.MS) for at in (self.result.ts[0], self.closes[-1])]

    def days_long(self) -> float:
        return float(len(self.equity) * self.result.interval / clock.DAY)

    def when(self, bar: int, *, close: bool = False) -> str:
        return clock.iso(int(self.closes[bar] if close else self.result.ts[bar]))
