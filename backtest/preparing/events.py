"""What happens to positions from outside: funding settlements, and deleveraging that was recorded.

A settlement stamped exactly at a bar's open is paid by the position held into the bar. One without a price of its own
is paid on the mark open or, at venues that pay on the index, on the index at the close before its bar. Deleveraging
events always act inside their bar.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest.given import is_number
from backtest.prepare import ADL_EVENT, EVENT, FUNDING_EVENT, SPOT, Ints
from backtest.preparing.bars import frozen, two
from backtest.preparing.contracts import number_of
from backtest.venue import Venue
from data import clock
from data.errors import BadInput

if TYPE_CHECKING:
    from data.market import Market

Rows = npt.NDArray[np.void]
Adl = Sequence[Sequence[Any]]
SIDES = {"long": 1.0, "short": -1.0}


def events_of(
    market: Market, venue: Venue, kind: Ints, detail: Market | None, adl: Adl | None
) -> tuple[Rows, list[str]]:
    """All events in order of bar, inside, time and symbol."""
    notes: list[str] = []
    paid, paid_ts = _settlements(market, venue, kind, notes)
    closed, closed_ts = _deleveraged(market, adl or (), notes)
    rows, ts = np.concatenate([paid, closed]), np.concatenate([paid_ts, closed_ts])
    if len(closed):
        order = np.lexsort((rows["symbol"], ts, rows["inside"], rows["bar"]))
        rows, ts = rows[order], ts[order]
    rows["detail"] = -1 if detail is None else (ts - detail.start) // detail.interval
    return frozen(rows), notes


def _settlements(market: Market, venue: Venue, kind: Ints, notes: list[str]) -> tuple[Rows, Ints]:
    due = market.settlements
    if (kind == SPOT).any():
        due = due[kind[due["symbol"]] != SPOT]
    _refuse_rates(market, due)
    rows = np.zeros(len(due), EVENT)
    rows["bar"], rows["symbol"], rows["kind"] = due["bar"], due["symbol"], FUNDING_EVENT
    rows["inside"] = due["ts"] != market.start + due["bar"] * market.interval
    rows["rate"], rows["price"] = due["rate"], due["price"]
    own = (due["price"] > 0.0) & np.isfinite(due["price"])
    rows["price"][~own] = np.nan
    guessed = np.flatnonzero(~own)
    indexed = _on_index(market, rows, guessed) if venue.funding.price == "index" else 0
    notes.append(
        f"funding: {len(rows):,} settlements, paid on {venue.funding.price}" + _estimates(len(guessed), indexed)
    )
    if len(guessed) > indexed and venue.funding.price == "index":
        many = len(guessed) - indexed
        notes.append(
            f"{many:,} settlements have neither a price nor an index before them: paid on the mark of their bar"
        )
    for j, symbol in enumerate(market.symbols):
        if kind[j] != SPOT and "-" not in symbol.partition(":")[2] and not (rows["symbol"] == j).any():
            notes.append(f"{symbol}: no funding settlements in this market: none is paid")
    return rows, due["ts"].astype(np.int64)


def _estimates(guessed: int, indexed: int) -> str:
    if not guessed:
        return ""
    on = [f"{indexed:,} on the index at the close before"] * bool(indexed)
    on += [f"{guessed - indexed:,} on the mark at the open of their bar"] * bool(guessed - indexed)
    return f"; {guessed:,} carry no price of their own: " + ", ".join(on)


def _refuse_rates(market: Market, due: Rows) -> None:
    wrong = np.flatnonzero(~np.isfinite(due["rate"]))
    if len(wrong):
        row = due[wrong[0]]
        where, when = market.symbols[row["symbol"]], clock.iso(int(row["ts"]))
        raise BadInput(f"{where}: the funding rate at {when} is {row['rate']}: correct the settlement or leave it out")


def _on_index(market: Market, rows: Rows, which: Ints) -> int:
    """Prices of some settlements from the index at the close before their bar; how many there were."""
    if "index" not in market.held:
        return 0
    before = rows["bar"][which] - 1
    index = two(market.index, market)[np.maximum(before, 0), rows["symbol"][which]]
    known = (before >= 0) & (index > 0.0) & np.isfinite(index)
    rows["price"][which[known]] = index[known]
    return int(np.count_nonzero(known))


def _deleveraged(market: Market, adl: Adl, notes: list[str]) -> tuple[Rows, Ints]:
    """Recorded events: (time, symbol, "long" or "short", fraction closed, price or None)."""
    found = [_event(market, at, event) for at, event in enumerate(adl)]
    inside = [(ts, row) for ts, row in found if market.start <= ts < market.end]
    if len(inside) < len(found):
        notes.append(f"{len(found) - len(inside):,} of {len(found):,} deleveraging events lie outside the market")
    ts = np.array([ts for ts, _ in inside], dtype=np.int64)
    return np.array([row for _, row in inside], dtype=EVENT), ts


def _event(market: Market, at: int, event: Sequence[Any]) -> tuple[int, tuple[Any, ...]]:
    where = f"adl[{at}]"
    if not isinstance(event, list | tuple) or len(event) not in (4, 5):
        raise BadInput(f'{where}: write (time, symbol, "long" or "short", fraction closed, price or None)')
    when, symbol, side, fraction, price = (*event, None)[:5]
    ts, j = clock.moment(when), number_of(market, symbol, where)
    if side not in SIDES:
        raise BadInput(f'{where}: side is {side!r}: say which position was closed, "long" or "short"')
    if not is_number(fraction) or not 0.0 < fraction <= 1.0:
        raise BadInput(f"{where}: fraction is {fraction!r}: it is above 0 and at most 1")
    if price is not None and not (is_number(price) and 0.0 < price < np.inf):
        raise BadInput(f"{where}: price is {price!r}: write a price above zero, or None")
    bar = (ts - market.start) // market.interval
    return ts, (bar, 1, j, ADL_EVENT, -1, SIDES[side] * fraction, np.nan if price is None else price)
