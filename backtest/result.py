"""What one simulation leaves: series, rows, measures, and the fingerprint of what it was made from.

* Series and frames are pandas, by the open of the bar (naive UTC); what they say holds at its close. Arrays stay in
  `result.run` (`backtest.records`), read-only.
* `save(folder)` writes a folder that `Result.load(folder)` gives the same bits back from: see `backtest.kept`.
* `same_as(other)` tells the first difference of two runs, the earliest bar where they part: see `backtest.compared`.
* A page for a notebook and a figure are drawn by `backtest.report.result_figures`.
* `fingerprint` is what went in: hashes of data, strategy and features, venue, account, costs, parameters, versions.
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import IntEnum
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest import kept, metrics, records
from backtest.compared import Comparison, differences
from backtest.kept import SETTINGS, TABLES
from backtest.metrics import MEASURES, Measure
from backtest.plain import digest as digest
from backtest.plain import joined
from backtest.plain import plain as plain
from backtest.prepare import INVERSE
from backtest.records import Cash, Refusal, Run, Why
from data import clock
from data.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

    from backtest.attribution import Attribution
    from backtest.portfolio import PerpPortfolio
    from backtest.strategy import Strategy
    from data.market import Market

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Settings = dict[str, Any]


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Result:
    """One simulation. Amounts are in `currency`, the settlement currency; fractions are fractions, not percent."""

    run: Run
    ts: Ints  # opens of the bars, ns since 1970 UTC
    interval: int  # ns
    symbols: tuple[str, ...]
    kinds: Ints  # prepare.LINEAR, INVERSE, SPOT, one a symbol
    currency: str
    start_equity: float
    venue: str
    account: Settings = field(default_factory=dict)
    costs: Settings = field(default_factory=dict)
    parameters: Settings = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    fingerprint: Settings = field(default_factory=dict)
    band: Settings | None = None  # what other readings of the same bars would have given
    assumptions: tuple[str, ...] = ()
    marks: Floats | None = None  # mark closes (bars, symbols), for `equity_usd` and `portfolio`
    attribution: Attribution | None = None  # of several strategies together: what each of them made

    def __post_init__(self) -> None:
        settle = object.__setattr__
        settle(self, "run", _locked_run(self.run))
        settle(self, "ts", _locked(np.asarray(self.ts, dtype=np.int64)))
        settle(self, "kinds", _locked(np.asarray(self.kinds, dtype=np.int64)))
        settle(self, "interval", int(self.interval))
        settle(self, "start_equity", float(self.start_equity))
        if self.marks is not None:
            settle(self, "marks", _locked(np.asarray(self.marks, dtype=np.float64)))
        for name in ("symbols", "warnings", "assumptions"):
            settle(self, name, tuple(str(text) for text in getattr(self, name)))
        for name in SETTINGS:
            settle(self, name, plain(getattr(self, name)))
        _check(self)

    # --- series, by the open of the bar; values at its close

    @property
    def equity(self) -> pd.Series[float]:
        """Wallet and unrealised profit, at mark."""
        return self._series("equity")

    @property
    def equity_usd(self) -> pd.Series[float]:
        """Equity in the quote currency: that of a run in coin at the mark close, else as it is."""
        coin = np.flatnonzero(self.kinds == INVERSE)
        if len(coin) == 0:
            return self.equity
        if self.marks is None:
            raise BadInput("this result was kept without mark closes: its equity is known in coin only")
        return self.equity * self.marks[:, coin[0]]

    @property
    def wallet(self) -> pd.Series[float]:
        """The sum of the ledger and the starting equity."""
        return self._series("wallet")

    @property
    def margin_ratio(self) -> pd.Series[float]:
        """Maintenance / balance, the highest of all legs; liquidated at 1; 0 with nothing open."""
        return self._series("margin_ratio")

    @property
    def exposure(self) -> pd.Series[float]:
        """Signed notional / equity."""
        return self._series("exposure")

    @property
    def gross(self) -> pd.Series[float]:
        """Notional of all positions, each taken as positive, / equity."""
        return self._series("gross")

    @property
    def drawdown(self) -> pd.Series[float]:
        """Loss from the highest equity so far, as a positive fraction."""
        return self._by_bar(metrics.drawdown(self.run.series["equity"], self.start_equity), "drawdown")

    @property
    def margin_distance(self) -> pd.Series[float]:
        """How far mark stayed from a liquidation in each bar, as a fraction; NaN with nothing open."""
        return self._by_bar(self.run.margin_distance, "margin_distance")

    @property
    def positions(self) -> pd.DataFrame:
        """Signed quantities by symbol."""
        return self._legs("position")

    @property
    def entry_prices(self) -> pd.DataFrame:
        """Average entry prices by symbol; NaN: flat."""
        return self._legs("entry_price")

    @property
    def liquidation_prices(self) -> pd.DataFrame:
        """Marks at which each leg would be liquidated; NaN: none."""
        return self._legs("liquidation_price")

    # --- rows, in the order in which things happened

    @property
    def fills(self) -> pd.DataFrame:
        return self._table("fills", why=_words(Why))

    @property
    def liquidations(self) -> pd.DataFrame:
        frame = self._table("liquidations", why=_words(Why))
        frame.insert(2, "side", _sides(self.run.liquidations["quantity"]))
        return frame

    @property
    def fundings(self) -> pd.DataFrame:
        return self._table("fundings", at_open=_YES_NO, known_price=_YES_NO)

    @property
    def refused(self) -> pd.DataFrame:
        return self._table("refused", why=_words(Refusal))

    @property
    def ledger(self) -> pd.DataFrame:
        """Every movement of cash; `wallet` is their sum so far."""
        return self._table("ledger", kind=_words(Cash))

    @property
    def trades(self) -> pd.DataFrame:
        """Flat to flat: `ts` is the bar of the first fill, `closed` that of the last. An open position is none."""
        import pandas as pd

        rows = metrics.trades(self.run, self.kinds)
        columns = {
            "ts": self._opens(rows["opened"]),
            "closed": self._opens(rows["closed"]),
            "symbol": self._names(rows["symbol"]),
            "side": _sides(rows["side"]),
            **{name: rows[name] for name in ("quantity", "entry_price", "exit_price", "profit")},
            **{name: rows[name] for name in ("fees", "funding", "insurance")},
            "why": _words(Why)[rows["why"]],
            "hours": (rows["closed"] - rows["opened"]) * (self.interval / clock.HOUR),
        }
        return pd.DataFrame(columns)

    # --- measures

    @cached_property
    def measures(self) -> Mapping[str, float]:
        """`backtest.metrics.MEASURES` by name."""
        return metrics.measures(self.run, self.ts, self.interval, self.kinds, self.start_equity)

    @property
    def metrics(self) -> pd.Series[float]:
        import pandas as pd

        return pd.Series(dict(self.measures), dtype="float64", name="metrics")

    @property
    def ruined(self) -> bool:
        return self.run.ruined_bar >= 0

    def summary(self) -> pd.DataFrame:
        """All measures as text, with what each means."""
        import pandas as pd

        shown = [(as_text(m, self.measures[m.name]), m.meaning) for m in MEASURES]
        return pd.DataFrame(shown, columns=["value", "meaning"], index=pd.Index(metrics.NAMES, name="measure"))

    @property
    def fingerprint_id(self) -> str:
        """Twelve characters that change with any input."""
        return digest(self.fingerprint)[:12]

    def same_as(self, other: Result, *, within: float = 0.0) -> Comparison:
        """Whether the same happened under the same settings; numbers may differ by `within`, relative and absolute.

        Fingerprints are not compared: another version may do the same.
        """
        return Comparison(next(differences(self, other, within), ""))

    # --- kept

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write a folder that `Result.load` reads. A result that is there is replaced; nothing else is."""
        return kept.save(self, folder)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Result:
        """The same bits that were saved."""
        return kept.load(cls, folder)

    # --- shown

    def __repr__(self) -> str:
        m, equity = self.measures, self.run.series["equity"]
        lines = [
            f"Result({joined(self.symbols)}, {self.venue}, {clock.label(self.interval)} bars, {self.span})",
            f"  equity {money(self.start_equity)} -> {money(equity[-1])} {self.currency} "
            f"({m['total_return']:+.2%}), maximum drawdown {m['max_drawdown']:.2%}, Sharpe {said('sharpe', m)}",
            f"  {said('trades', m)} trades, {said('liquidations', m)} liquidations, fees {said('fees', m)}, "
            f"funding {said('funding', m)}, {said('refused', m)} orders refused",
        ]
        if self.ruined:
            lines.append(f"  ruined at {clock.iso(int(self.ts[self.run.ruined_bar]))}")
        lines += [f"  warning: {text}" for text in self.warnings[:3]]
        if len(self.warnings) > 3:
            lines.append(f"  and {len(self.warnings) - 3} more warnings")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from backtest.report.result_figures import page

        return page(self)

    def plot(self) -> Any:
        """A plotly figure: equity with its liquidations, drawdown, exposure."""
        from backtest.report.result_figures import figure

        return figure(self)

    def report(
        self,
        path: str | os.PathLike[str],
        *,
        market: Market | None = None,
        strategy: Strategy | None = None,
        **more: Any,
    ) -> Path:
        """One HTML file that needs no network. With the market and the strategy it says how far to believe the run.

        `more`: venue, account, costs, history and detail as they were simulated; name, sweep, events, stress for what
        `backtest.report.report.Report.of` shows of them.
        """
        from backtest.report.report import Report

        return Report.of(self, market, strategy, **more).write(path)

    @cached_property
    def portfolio(self) -> PerpPortfolio:
        """The run as a `vectorbt.Portfolio`, funding and liquidations included; see `backtest.portfolio`."""
        from backtest.portfolio import portfolio_of

        return portfolio_of(self)

    # --- helpers

    @property
    def span(self) -> str:
        return f"{clock.iso(int(self.ts[0]))} to {clock.iso(int(self.ts[-1]) + self.interval)}"

    def _by_bar(self, values: Floats, name: str) -> pd.Series[float]:
        import pandas as pd

        return pd.Series(values, index=self._index(), name=name, copy=True)

    def _series(self, name: str) -> pd.Series[float]:
        return self._by_bar(self.run.series[name], name)

    def _legs(self, name: str) -> pd.DataFrame:
        import pandas as pd

        return pd.DataFrame(self.run.leg_series[name], index=self._index(), columns=list(self.symbols), copy=True)

    def _table(self, name: str, **words: npt.NDArray[Any]) -> pd.DataFrame:
        import pandas as pd

        rows = getattr(self.run, name)
        columns: dict[str, Any] = {"ts": self._opens(rows["bar"]), "symbol": self._names(rows["symbol"])}
        for column in rows.dtype.names[2:]:
            columns[column] = words[column][rows[column]] if column in words else rows[column]
        return pd.DataFrame(columns)

    def _index(self) -> pd.DatetimeIndex:
        import pandas as pd

        return pd.DatetimeIndex(self.ts.astype("datetime64[ns]"), name="ts")

    def _opens(self, bars: Ints) -> npt.NDArray[np.datetime64]:
        return self.ts[bars].astype("datetime64[ns]")

    def _names(self, symbols: Ints) -> npt.NDArray[Any]:
        return np.array([*self.symbols, "account"], dtype=object)[symbols]  # -1: the account


_YES_NO = np.array([False, True])


def _words(kinds: type[IntEnum]) -> npt.NDArray[Any]:
    """Names by number, as in `stop_loss`."""
    return np.array([kind.name.lower() for kind in kinds], dtype=object)


def _sides(signed: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.where(signed > 0, "long", "short").astype(object)


# --- made ------------------------------------------------------------------------------------------------------------


@cache
def versions() -> Mapping[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("unwind", "numpy", "numba")}


def _locked(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    view = array.view()
    view.flags.writeable = False
    return view


def _locked_run(run: Run) -> Run:
    tables: dict[str, Any] = {name: _locked(getattr(run, name)) for name in TABLES}
    return replace(
        run,
        series={name: _locked(run.series[name]) for name in records.SERIES},
        leg_series={name: _locked(run.leg_series[name]) for name in records.LEG_SERIES},
        margin_distance=_locked(run.margin_distance),
        **tables,
    )


def _check(result: Result) -> None:
    n, k = len(result.ts), len(result.symbols)
    if n == 0:
        raise BadInput("a result needs at least one bar")
    for name, array, shape in (
        ("kinds", result.kinds, (k,)),
        ("marks", result.marks, (n, k)),
        ("margin_distance", result.run.margin_distance, (n,)),
        *((name, array, (n,)) for name, array in result.run.series.items()),
        *((name, array, (n, k)) for name, array in result.run.leg_series.items()),
    ):
        if array is not None and array.shape != shape:
            raise BadInput(f"{name} has shape {array.shape}: {n} bars and {k} symbols make {shape}")


# --- shown -----------------------------------------------------------------------------------------------------------


def as_text(measure: Measure, value: float) -> str:
    """One measure as text."""
    if math.isnan(value):
        return "n/a"
    if measure.unit == "flag":
        return "yes" if value else "no"
    if math.isinf(value):
        return "infinite" if value > 0.0 else "-infinite"
    if measure.unit in ("days", "hours"):
        return f"{value:,.1f} {measure.unit}"
    forms = {"fraction": "{:,.2%}", "count": "{:,.0f}", "ratio": "{:,.2f}"}
    return forms[measure.unit].format(value) if measure.unit in forms else money(value)


def money(value: float) -> str:
    """Two places, or four digits of what is smaller than one (coin)."""
    return f"{value:,.2f}" if value == 0.0 or abs(value) >= 1.0 else f"{value:.4g}"


def said(name: str, values: Mapping[str, float]) -> str:
    return as_text(_BY_NAME[name], values[name])


_BY_NAME = {measure.name: measure for measure in MEASURES}
