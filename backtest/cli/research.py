"""What the verbs that trade share: which market, under which rules, and what is said before anything runs.

    ground = stand(cls, strategies, asked, db)        # the market, bars before it for features, notes for the user
    terms = terms_of(rules, ground.market, cls)       # venue, account and costs, as `simulate` takes them

1. Bars from before `--from` are loaded too where the store has them, as many as the strategy's warm-up needs, so that
   trading can begin on the first bar asked for.
2. A span that goes beyond what is stored is cut to it, and that is said. No bar at all is a mistake to mend.
3. A carry gets a spot leg for each perpetual where no spot is stored.
4. What the strategy needs and the market does not hold is named, with the command that brings it in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backtest.cli.settings import account_of, assigned, costs_of
from data import clock
from data.errors import BadInput, NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from backtest.strategy import Strategy
    from data.market import Market

FETCHED = {  # the table that is missing -> what to ask `unwind fetch` for
    "candles": "candles",
    "candles (price mark)": "mark",
    "candles (price index)": "index",
    "candles (price premium)": "premium",
    "funding": "funding",
    "open_interest": "open-interest",
    "ratios": "ratios",
}


@Parameter(name="*", show_default=False)
@dataclass(frozen=True)
class Asked:
    """Which bars."""

    symbols: Annotated[str, Parameter(help="Of the store, with commas: BTC/USDT:USDT,ETH/USDT:USDT.")] = ""
    interval: Annotated[str, Parameter(help="Length of the bars; without it 1h.")] = "1h"
    start: Annotated[str, Parameter(name="--from", help="First moment, such as 2024-01-01.")] = ""
    end: Annotated[str, Parameter(name="--to", help="First moment not wanted.")] = ""
    venue: Annotated[str, Parameter(help="Whose data, where several venues have the symbols.")] = ""

    @property
    def names(self) -> list[str]:
        return list(dict.fromkeys(s.strip() for s in self.symbols.split(",") if s.strip()))


@Parameter(name="*", show_default=False)
@dataclass(frozen=True)
class Rules:
    """Under which rules it trades."""

    equity: Annotated[float | None, Parameter(help="What the account starts with; without it 10,000.")] = None
    mode: Annotated[str, Parameter(help="isolated (the default) or cross margin.")] = ""
    leverage: Annotated[
        float | None,
        Parameter(help="Margin of a position is notional / leverage. How large it is, the strategy says: see --set."),
    ] = None
    delay: Annotated[int | None, Parameter(help="Bars between a decision and its order, beyond the next open.")] = None
    account: Annotated[
        list[str] | None, Parameter(negative="", help="Anything else of the account: cash_rate=0.04. May be repeated.")
    ] = None
    slippage: Annotated[str, Parameter(help="impact, depth, none, or basis points a side such as 5.")] = ""
    maker_fee: Annotated[float | None, Parameter(help="Fraction of notional instead of the venue's: 0.0002.")] = None
    taker_fee: Annotated[float | None, Parameter(help="The same for orders that take: 0.0005.")] = None
    costs: Annotated[
        list[str] | None, Parameter(negative="", help="Anything else of the costs: times=2. May be repeated.")
    ] = None
    rules: Annotated[str, Parameter(help="The venue whose rules hold, where they are not those of the data.")] = ""

    @property
    def account_values(self) -> dict[str, Any]:
        """Only what was said."""
        said = {"equity": self.equity, "mode": self.mode or None, "leverage": self.leverage, "delay": self.delay}
        return {k: v for k, v in said.items() if v is not None} | assigned(self.account, "--account", "cash_rate=0.04")

    @property
    def costs_values(self) -> dict[str, Any]:
        said: dict[str, Any] = {}
        if self.slippage:
            said = _slippage(self.slippage)
        fees = {"maker": self.maker_fee, "taker": self.taker_fee}
        return said | {k: v for k, v in fees.items() if v is not None} | assigned(self.costs, "--costs", "times=2")


def _slippage(text: str) -> dict[str, Any]:
    try:
        return {"model": "fixed", "half_spread_bps": float(text)}
    except ValueError:
        if text not in ("impact", "depth", "none"):
            raise BadInput(f"--slippage {text}: write impact, depth, none, or basis points a side such as 5") from None
        return {"model": text}


def terms_of(rules: Rules, market: Market, cls: type[Strategy]) -> dict[str, Any]:
    return terms(market, cls, rules.rules, rules.account_values, rules.costs_values)


def terms(
    market: Market, cls: type[Strategy], rules: str, account: dict[str, Any], costs: dict[str, Any]
) -> dict[str, Any]:
    """venue, account, costs: what `simulate`, `sweep` and `walk_forward` take."""
    from strategies.carry import Carry, account_for

    base = account_for(market) if issubclass(cls, Carry) else None
    return {"venue": rules or None, "account": account_of(account, base), "costs": costs_of(costs, market)}


@dataclass(frozen=True)
class Ground:
    """`history`: the same bars with those before them that features may look back to."""

    market: Market
    history: Market | None
    notes: tuple[str, ...]


def stand(cls: type[Strategy], sets: Sequence[Strategy], asked: Asked, db: Path) -> Ground:
    """The market that strategies of one class are tried on."""
    if not asked.names:
        raise BadInput(f"on which symbols? Write --symbols, {_stored_symbols(db)}")
    interval = clock.duration(asked.interval)
    lead = max((look_back(one, interval) for one in sets), default=0) if asked.start else 0
    begin = clock.floor(clock.moment(asked.start), interval) if asked.start else None
    if begin is not None and asked.end and begin >= clock.moment(asked.end):
        raise BadInput(f"--from {asked.start} does not come before --to {asked.end}")
    first = clock.iso(begin - lead * interval) if begin is not None else ""
    whole, there = _stored(asked, first, db)
    notes = _cut_notes(asked, begin, *there)
    whole, made = fitting(cls, whole)
    _check_needs(cls, whole)
    skip = 0 if begin is None else max(0, (begin - whole.start) // interval)
    if skip >= len(whole):
        raise NotFound(_nothing(asked, whole.start, whole.end))
    market = whole[skip:] if skip else whole
    return Ground(market, whole if skip else None, (*notes, *made))


def look_back(strategy: Strategy, interval: int) -> int:
    """The declared warm-up in bars."""
    declared = strategy.warmup
    parts = declared if isinstance(declared, tuple) else (declared,)
    return max((p if isinstance(p, int) else -(-clock.duration(p) // interval) for p in parts), default=0)


def _stored(asked: Asked, first: str, db: Path) -> tuple[Market, tuple[int, int]]:
    """What is stored of the span, without empty bars at its ends; and the span of what there is."""
    import numpy as np

    from backtest.cli.stored_market import stored_market

    def load(start: str, end: str) -> Market:
        return stored_market(",".join(asked.names), asked.venue, asked.interval, start, end, db)

    try:
        whole = load(first, asked.end)
    except BadInput:  # a span that ends before it begins, as it does after the last bar
        every = load("", "")
        if not first or clock.moment(first) < every.end:
            raise
        raise NotFound(_nothing(asked, every.start, every.end)) from None
    known = np.isfinite(np.asarray(whole.close)).reshape(len(whole), -1).any(axis=1)
    rows = np.flatnonzero(known)
    if len(rows) == 0:
        every = load("", "")
        raise NotFound(_nothing(asked, every.start, every.end))
    low, high = int(rows[0]), int(rows[-1]) + 1
    cut = whole if (low, high) == (0, len(whole)) else whole[low:high]
    return cut, (cut.start, cut.end)


def _nothing(asked: Asked, start: int, end: int) -> str:
    span = f"from {asked.start or 'the beginning'} to {asked.end or 'the end'}"
    return (
        f"no bars of {', '.join(asked.names)} are stored {span}: there is {clock.iso(start)} to {clock.iso(end)}; "
        "`unwind fetch --help` and `unwind import --help` say how to bring in more"
    )


def _cut_notes(asked: Asked, begin: int | None, start: int, end: int) -> tuple[str, ...]:
    notes = []
    if begin is not None and start > begin:
        notes.append(f"stored from {clock.iso(start)} on, which is later than --from {asked.start}")
    if asked.end and end < clock.moment(asked.end):
        notes.append(f"stored up to {clock.iso(end)}, which is earlier than --to {asked.end}")
    return tuple(notes)


def _stored_symbols(db: Path) -> str:
    from backtest.cli.stored import HOW_TO_FILL, existing
    from data.scope import stored_pairs

    store = existing(db)
    if store is None:
        raise NotFound(f"there is no store yet: {db}. {HOW_TO_FILL}")
    symbols = list(dict.fromkeys(symbol for _, symbol in stored_pairs(store) if symbol not in ("", "*")))
    if not symbols:
        raise NotFound(f"the store is empty: {db}. {HOW_TO_FILL}")
    more = f" and {len(symbols) - 8} more" if len(symbols) > 8 else ""
    return f"such as --symbols {symbols[0]}; stored: {', '.join(symbols[:8])}{more}"


def fitting(cls: type[Strategy], market: Market) -> tuple[Market, tuple[str, ...]]:
    """The market, with a spot leg for each perpetual where a carry finds none."""
    from strategies.carry import Carry, hedged

    if not issubclass(cls, Carry) or any(":" not in symbol for symbol in market.symbols):
        return market, ()
    price = "index" if "index" in market.held else "trade"
    legs = hedged(market, price).registered(market.register)
    added = ", ".join(s for s in legs.symbols if ":" not in s)
    return legs, (f"no spot is stored: {added} stands in, at the {price} price of its perpetual",)


def _check_needs(cls: type[Strategy], market: Market) -> None:
    from backtest.needs import missing

    if lacking := missing(cls, market):
        tables = list(dict.fromkeys(lacking.values()))
        raise BadInput(
            f"{cls.__name__} needs {', '.join(lacking)}, which the store lacks for {', '.join(market.symbols)} in this "
            f"span.\nBring in {', '.join(tables)}: {_how(market, tables)}"
        )


def _how(market: Market, tables: Sequence[str]) -> str:
    """The command, where an exchange's interface has all of it."""
    from data.sources.venue_table import parts

    try:
        parts(market.venue)
        what = ",".join(FETCHED[table] for table in tables)
    except (BadInput, NotFound, KeyError):
        return "`unwind import --help` says how, `unwind record --help` keeps what no history has"
    since, until = (clock.iso(when)[:10] for when in (market.start, market.end + clock.DAY - 1))
    return (
        f"unwind fetch --venue {market.venue} --symbols {','.join(market.symbols)} --since {since} --until {until} "
        f"--what {what} --interval {market.interval_label}"
    )


def finer(asked: Asked, market: Market, cls: type[Strategy], interval: str, db: Path) -> Market:
    """Bars to walk inside the bars of a market: the same symbols and span."""
    if clock.duration(interval) >= market.interval:
        raise BadInput(f"--detail {interval}: write bars shorter than those of {market.interval_label}")
    ends = {"start": clock.iso(market.start), "end": clock.iso(market.end), "interval": interval}
    found, _ = _stored(replace(asked, **ends), ends["start"], db)
    return fitting(cls, found)[0]
