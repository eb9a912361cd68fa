"""What buying and keeping would have made: the curve that every strategy is compared with.

`hold(market, symbol, side)` buys (or sells short) a fixed quantity once and keeps it to the end. Unlevered
and fully funded: the whole notional lies in the wallet, so there is no margin and no liquidation. (The engine
with margin is another module.)

1. Entry at the open of the first bar that traded, for `notional`, paying `fee`. The decision uses nothing
   that the market shows.
2. Every settlement after the entry is paid by the position held into it: rate x quantity x price, longs
   paying when the rate is positive. One stamped at the entry itself is not paid: the position opened there.
   The price is the settlement's own, else the mark at the open of its bar (else the trade open, else the last
   mark), and that is counted.
3. At every close the position is worth its mark. A missing mark leaves the last one standing, and is counted.
4. Equity = wallet + what the open position has gained. The wallet is the ledger summed in order. Should
   equity reach zero (a short whose price doubles), the position is closed there and equity stays zero: a loss
   beyond the wallet is not charged.

The position at the end is marked, not closed. What the position pays does not depend on the length of the
bars.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from data import clock
from data.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

    from data.market import Market

Array = npt.NDArray[np.float64]
Times = npt.NDArray[np.int64]

UNLEVERED = "unlevered, fully funded; cannot be liquidated"

LEDGER = np.dtype([("ts", "i8"), ("kind", "U8"), ("amount", "f8"), ("wallet", "f8")])


@dataclass(frozen=True, eq=False)
class Settlements:
    """Funding settlements of one symbol, in order of time; `price` is NaN where it is not known."""

    ts: Times
    rate: Array
    price: Array


@dataclass(frozen=True, eq=False)
class Bars:
    """What holding needs to see of one symbol. Bar i covers [ts[i], ts[i] + interval)."""

    ts: Times
    interval: int
    open: Array
    mark_open: Array
    mark_close: Array

    @property
    def end(self) -> int:
        return int(self.ts[-1]) + self.interval


@dataclass(frozen=True, eq=False)
class Hold:
    """A position kept from the first bar to the last. Series have one value a bar, at its close.

    At every bar: equity = capital + price + funding + fees. `funding` and `fees` are negative where they were paid.
    """

    symbol: str
    side: int
    capital: float
    quantity: float  # signed
    entry_ts: int
    entry_price: float
    ts: Times
    interval: int
    equity: Array
    price: Array
    funding: Array
    fees: Array
    ledger: npt.NDArray[np.void]
    settled: int  # settlements paid
    estimated: int  # of which on a price that the settlement did not carry
    missing_marks: int
    ruined_at: int | None
    convention: str = UNLEVERED

    @property
    def name(self) -> str:
        return "long" if self.side > 0 else "short"

    @property
    def gross(self) -> Array:
        """Equity had there been no funding: capital, price and entry fee."""
        return self.equity - self.funding

    @property
    def drawdown(self) -> Array:
        """Loss from the highest equity so far, the capital included, as a fraction."""
        peak = np.maximum.accumulate(np.maximum(self.equity, self.capital))
        return np.asarray(1.0 - self.equity / peak)

    @property
    def total_return(self) -> float:
        return float(self.equity[-1] / self.capital - 1.0)

    @property
    def max_drawdown(self) -> float:
        return float(self.drawdown.max())

    @property
    def funding_flows(self) -> tuple[Times, Array]:
        """Each settlement and what it paid to the position."""
        rows = self.ledger[self.ledger["kind"] == "funding"]
        return rows["ts"].astype(np.int64), rows["amount"].astype(np.float64)

    def warnings(self) -> list[str]:
        """What a reader has to know before trusting the numbers, in words."""
        found = []
        if self.ruined_at is not None:
            found.append(f"{self.name}: ruined at {clock.iso(self.ruined_at)}; equity stays zero from there")
        if self.missing_marks:
            found.append(f"{self.name}: {self.missing_marks:,} bars without a mark stand at the last one known")
        if self.estimated:
            found.append(
                f"{self.name}: {self.estimated:,} of {self.settled:,} settlements carry no price: "
                "paid on the mark at the open of their bar"
            )
        return found

    def to_frame(self) -> pd.DataFrame:
        """The series as a frame, by the open of the bar (UTC)."""
        import pandas as pd

        names = ("equity", "gross", "price", "funding", "fees", "drawdown")
        index = pd.DatetimeIndex(self.ts.astype("datetime64[ns]"), name="ts")
        return pd.DataFrame({name: getattr(self, name) for name in names}, index=index)

    def ledger_frame(self) -> pd.DataFrame:
        """One row for each movement of cash, in order; `wallet` is their sum so far."""
        import pandas as pd

        columns = {name: self.ledger[name] for name in ("kind", "amount", "wallet")}
        return pd.DataFrame({"ts": self.ledger["ts"].astype("datetime64[ns]"), **columns})

    def __repr__(self) -> str:
        return (
            f"Hold({self.name} {self.symbol}, {self.capital:,.0f} -> {self.equity[-1]:,.2f}: "
            f"price {self.price[-1]:+,.2f}, funding {self.funding[-1]:+,.2f}, "
            f"fees {self.fees[-1]:+,.2f}; {self.convention})"
        )


def hold(
    market: Market,
    symbol: str | None = None,
    side: int = 1,
    notional: float = 10_000.0,
    fee: float = 0.0005,
) -> Hold:
    """Buy (`side=1`) or sell short (`side=-1`) for `notional` at the first open and keep it to the last bar.

    `fee` is a fraction of the notional, paid once. `symbol` may be left out where the market has only one.
    """
    if side not in (1, -1):
        raise BadInput(f"side={side!r}: write 1 to buy, -1 to sell short")
    if not (np.isfinite(notional) and notional > 0.0):
        raise BadInput(f"notional={notional!r}: write how much to buy for, in quote currency, above zero")
    if not 0.0 <= fee < 0.1:
        raise BadInput(f"fee={fee!r}: write a fraction of the notional, such as 0.0005 for 5 basis points")
    if symbol is None and len(market.symbols) > 1:
        raise BadInput(f"say which symbol to hold: {', '.join(market.symbols)}")
    one = market if symbol is None else market.select([symbol])
    name = one.symbols[0]
    if _is_inverse(one):
        raise BadInput(
            f"{name} is an inverse contract, paid in coin: holding one cannot be reckoned in quote currency yet"
        )
    bars = Bars(one.ts, one.interval, one.open, one.mark_open, one.mark_close)
    due = one.settlements
    settlements = Settlements(due["ts"], due["rate"], due["price"])
    return held(bars, settlements, symbol=name, side=side, capital=float(notional), fee=fee)


def _is_inverse(one: Market) -> bool:
    """By the terms of the contract, or else by its name: BTC/USD:BTC is paid in its base."""
    name = one.symbols[0]
    by_name = ":" in name and name.split("/")[0] == name.split(":")[1].split("-")[0]
    return bool(one.instrument().get("contract", "inverse" if by_name else "") == "inverse")


def held(bars: Bars, settlements: Settlements, *, symbol: str, side: int, capital: float, fee: float) -> Hold:
    """The same as `hold`, on plain arrays."""
    first = _entry(bars, symbol)
    entry_ts, entry_price = int(bars.ts[first]), float(bars.open[first])
    quantity = side * capital / entry_price
    mark, missing = _last_known(bars.mark_close, first, entry_price)
    gained = np.where(np.arange(len(mark)) < first, 0.0, quantity * (mark - entry_price))
    due = _between(settlements, entry_ts, bars.end)
    paid_on, estimated = _paid_on(due, bars, mark)
    ledger = _ledger(
        [(entry_ts, "deposit", capital), (entry_ts, "fee", -capital * fee)],
        due.ts,
        -quantity * paid_on * due.rate,
    )
    wallet = _at_closes(ledger, ledger["wallet"], bars, capital)
    stop = _ruin(wallet + gained)
    if stop is not None:
        ledger = _stopped(ledger, int(bars.ts[stop]) + bars.interval)
        wallet = _at_closes(ledger[:-1], ledger["wallet"][:-1], bars, capital)
        wallet[stop:] = ledger["wallet"][-2]
        gained[stop:] = -wallet[stop]
        estimated = estimated[: np.count_nonzero(ledger["kind"] == "funding")]
    flows = np.where(ledger["kind"] == "funding", ledger["amount"], 0.0)
    funding = _at_closes(ledger, np.cumsum(flows), bars, 0.0)
    return Hold(
        symbol=symbol,
        side=side,
        capital=capital,
        quantity=quantity,
        entry_ts=entry_ts,
        entry_price=entry_price,
        ts=bars.ts,
        interval=bars.interval,
        equity=wallet + gained,
        price=gained,
        funding=funding,
        fees=np.where(bars.ts < entry_ts, 0.0, -capital * fee),
        ledger=ledger,
        settled=len(estimated),
        estimated=int(np.count_nonzero(estimated)),
        missing_marks=missing,
        ruined_at=None if stop is None else int(bars.ts[stop]),
    )


def _entry(bars: Bars, symbol: str) -> int:
    """The first bar that has an opening trade."""
    traded = np.flatnonzero(np.isfinite(bars.open) & (bars.open > 0.0))
    if not len(traded):
        raise BadInput(f"{symbol}: no bar of this market has an opening price, so nothing can be bought")
    return int(traded[0])


def _last_known(values: Array, first: int, until_then: float) -> tuple[Array, int]:
    """Values with each NaN replaced by the last one known since `first`, and how many were."""
    known = np.isfinite(values) & (np.arange(len(values)) >= first)
    last = np.maximum.accumulate(np.where(known, np.arange(len(values)), -1))
    filled = np.where(last < 0, until_then, values[np.maximum(last, 0)])
    return filled, int(np.count_nonzero(~known[first:]))


def _between(settlements: Settlements, entry: int, end: int) -> Settlements:
    """Those paid by a position opened at `entry`: not one stamped at the entry itself."""
    inside = (settlements.ts > entry) & (settlements.ts < end) & np.isfinite(settlements.rate)
    return Settlements(settlements.ts[inside], settlements.rate[inside], settlements.price[inside])


def _paid_on(due: Settlements, bars: Bars, mark: Array) -> tuple[Array, npt.NDArray[np.bool_]]:
    """The price of each payment, and whether it had to be taken from the bars."""
    bar = np.searchsorted(bars.ts, due.ts, side="right") - 1
    before = mark[np.maximum(bar - 1, 0)]  # known before the bar that the settlement lies in
    price = due.price
    for instead in (bars.mark_open[bar], bars.open[bar], before):
        price = np.where(np.isfinite(price), price, instead)
    return price, ~np.isfinite(due.price)


def _ledger(opening: list[tuple[int, str, float]], ts: Times, flows: Array) -> npt.NDArray[np.void]:
    rows = np.zeros(len(opening) + len(ts), dtype=LEDGER)
    for i, (when, kind, amount) in enumerate(opening):
        rows[i] = (when, kind, amount, 0.0)
    tail = rows[len(opening) :]
    tail["ts"], tail["kind"], tail["amount"] = ts, "funding", flows
    rows["wallet"] = np.cumsum(rows["amount"])
    return rows


def _at_closes(ledger: npt.NDArray[np.void], sums: Array, bars: Bars, before: float) -> Array:
    """The sum that stood at each close; `before` the first row."""
    row = np.searchsorted(ledger["ts"], bars.ts + bars.interval, side="left") - 1
    return np.where(row < 0, before, sums[np.maximum(row, 0)])


def _ruin(equity: Array) -> int | None:
    below = np.flatnonzero(equity <= 0.0)
    return int(below[0]) if len(below) else None


def _stopped(ledger: npt.NDArray[np.void], at: int) -> npt.NDArray[np.void]:
    """The ledger up to the close of the ruinous bar, and the row that empties the wallet."""
    kept = ledger[ledger["ts"] < at]
    last = np.array([(at, "price", -kept["wallet"][-1], 0.0)], dtype=LEDGER)
    return np.concatenate([kept, last])
