"""From a market, a venue, an account and costs to the arrays of `backtest.prepare.Prepared`.

contracts   what is traded: kind, mode, steps, pairs, delisting, settlement currency
bars        holes filled, impossible prices refused
tiers       maintenance brackets on bars
events      funding settlements and deleveraging, in order
assemble    all of it together, with costs, volume, days and finer bars
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from backtest.account import PATHS, SHORTFALLS, Account
from backtest.costs import Costs
from backtest.liquidity import Tape, coefficients
from backtest.prepare import CONVENTIONS, Bars, Flags, Floats, Ints, Prepared, Taking
from backtest.preparing.bars import bars_of, columns, frozen, sizes, two
from backtest.preparing.contracts import contract_sizes, contracts_of, currency, kinds, last_bars
from backtest.preparing.events import Adl, events_of
from backtest.preparing.tiers import tiers_of
from backtest.venue import REDUCTIONS, RESIDUALS, Venue
from data import clock
from data.errors import BadInput

if TYPE_CHECKING:
    from data.market import Market

CLOSE_ENOUGH = 1e-3  # how far the close of a bar may be from that of its last finer bar


def assemble(
    market: Market,
    venue: Venue,
    account: Account,
    costs: Costs,
    detail: Market | None,
    adl: Adl | None,
    warmup: int | str,
) -> tuple[Prepared, list[str]]:
    """See `backtest.prepare.prepare`."""
    if "close" not in market.held:
        raise BadInput("the market holds no candles: there is nothing to trade on")
    currency(market)
    kind, last_bar = kinds(market, venue), last_bars(market)
    bars, notes = bars_of(market, last_bar)
    size, of_size = contract_sizes(market, kind)
    contracts = contracts_of(market, account, kind, size, last_bar, bars.mark_open[0])
    fine, fine_bars, of_detail = _finer(market, bars, detail)
    events, of_events = events_of(market, venue, kind, fine, adl)
    tier_rows, tier_tables, of_tiers = tiers_of(market, venue, kind)
    taking, of_taking = _taking(market, bars, costs, size, contracts.tick)
    maker = venue.fees.maker if costs.maker is None else costs.maker
    taker = venue.fees.taker if costs.taker is None else costs.taker
    prepared = Prepared(
        bars=bars,
        taking=taking,
        volume=_volume(market, size, account.participation is not None),
        contracts=contracts,
        events=events,
        tier_rows=tier_rows,
        tier_tables=tier_tables,
        day_end=frozen(_day_ends(market)),
        detail=fine_bars,
        detail_first=frozen(_firsts(market, fine)),
        maker=maker,
        taker=taker,
        liquidation_fee=venue.fees.liquidation,
        closing_fee=taker if venue.closing_fee_in_maintenance else 0.0,
        whole_tiers=venue.tier_rule == "whole",
        reduction=REDUCTIONS.index(venue.liquidation.reduction),
        reduction_fraction=venue.liquidation.fraction,
        reduction_above=venue.liquidation.above,
        residual=RESIDUALS.index(venue.liquidation.residual),
        backstop=venue.liquidation.backstop,
        equity=float(account.equity),
        leverage=0.0 if account.leverage is None else float(account.leverage),
        shortfall=SHORTFALLS.index(account.shortfall),
        path=PATHS.index(account.path),
        collateral_weight=account.collateral_weight,
        cash_rate=account.cash_rate,
        participation=account.participation or 0.0,
        delay=account.delay,
        warmup=_warmup(market, warmup),
    )
    about = [*_marks(market), *of_tiers, *of_events, _liquidation(venue), f"fees: maker {maker:.4%}, taker {taker:.4%}"]
    assumed = [f"assumption: {text}" for text in venue.assumptions]
    told = [*about, *of_taking, *assumed, *market.warnings, *notes, *of_size, *of_detail]
    return prepared, sorted(told, key=lambda note: note.partition(":")[0] not in CONVENTIONS)


# ---- parts -------------------------------------------------------------------------------------


def _taking(market: Market, bars: Bars, costs: Costs, size: Floats, tick: Floats) -> tuple[Taking, list[str]]:
    shape = bars.close.shape
    if costs.model in ("none", "fixed"):
        zero = frozen(np.zeros(shape))
        half = np.full(shape, costs.times * costs.half_spread_bps * 1e-4) if costs.half_spread_bps else zero
        return Taking(frozen(half), zero, zero, costs.delta), [f"slippage: {costs}"]
    tape = _tape(market, bars, costs, size, tick)
    made = coefficients(costs, tape, market.interval)
    notes = [f"slippage: {costs}"]
    for j, symbol in enumerate(market.symbols):
        traded = int(np.count_nonzero(bars.present[:, j]))
        notes.append(
            f"slippage: {symbol}: depth recorded in {made.recorded[j] / traded:.0%} of bars; less than half of the "
            f"book left in {made.stressed[j]:,.0f}, at worst {1.0 / max(made.thickest[j], 1.0):.1%}"
        )
        if unknown := int(made.unknown[j]):
            flat = max(costs.unknown_bps, costs.half_spread_bps)
            notes.append(
                f"{symbol}: what taking costs is not known in {unknown:,} of {traded:,} bars: {flat:g} bp there"
            )
    return Taking(frozen(made.half_spread), frozen(made.a), frozen(made.b), float(costs.delta)), notes


def _tape(market: Market, bars: Bars, costs: Costs, size: Floats, tick: Floats) -> Tape:
    held = set(market.held)
    if costs.model == "impact" and not held & {"volume", "quote_volume"}:
        raise BadInput("Costs.impact needs volume, and the market holds none: give costs=Costs.fixed(2), say")
    if costs.model == "depth" and not held & {"bid_depth_1pct", "ask_depth_1pct"}:
        raise BadInput("Costs.depth needs recorded depth, and the market holds none: give costs=Costs.impact()")
    nothing = frozen(np.zeros((0, len(market.symbols))))
    groups = [("volume",), ("quote_volume",), ("bid_depth_1pct", "ask_depth_1pct"), ("liq_long", "liq_short")]
    series: list[Floats] = []
    for names in groups:
        series += columns(market, names) if held & set(names) else [nothing] * len(names)
        for name, values in zip(names, series[-len(names) :], strict=True):
            _checked(market, name, values)
    volume, quote, bid, ask, long, short = series
    return Tape(bars.high, bars.low, bars.close, bars.present, volume, quote, bid, ask, long, short, frozen(size), tick)


def _checked(market: Market, name: str, values: Floats) -> bool:
    """Whether any is NaN; what is negative or infinite is refused."""
    bar, j, lacking = sizes(values)
    if bar >= 0:
        where, when = market.symbols[j], clock.iso(market.start + bar * market.interval)
        raise BadInput(f"{where}: {name} is {values[bar, j]:g} at {when}: sizes are finite and not negative")
    return bool(lacking)


def _volume(market: Market, size: Floats, needed: bool) -> Floats:
    """In units of quantity: base, or quote currency for inverse contracts. Nothing where it is not known."""
    if "volume" not in market.held:
        if needed:
            raise BadInput("participation needs volume, and the market holds none: leave it out")
        return frozen(np.zeros((len(market), len(market.symbols))))
    volume = two(market.volume, market)
    if _checked(market, "volume", volume):
        volume = np.nan_to_num(volume, nan=0.0)
    return frozen(volume * np.where(size > 0.0, size, 1.0) if size.any() else volume)


def _finer(market: Market, bars: Bars, detail: Market | None) -> tuple[Market | None, Bars | None, list[str]]:
    """Finer bars of exactly the market's bars and symbols."""
    if detail is None:
        return None, None, []
    fine, coarse = detail.interval_label, market.interval_label
    if detail.interval >= market.interval or market.interval % detail.interval:
        raise BadInput(f"detail has {fine} bars, which do not divide the market's {coarse} bars")
    if detail.start > market.start or detail.end < market.end:
        span = f"{clock.iso(market.start)} to {clock.iso(market.end)}"
        theirs = f"{clock.iso(detail.start)} to {clock.iso(detail.end)}"
        raise BadInput(f"detail covers {theirs}, and the market {span}: detail must cover all of it")
    if detail.symbols != market.symbols:
        detail = detail.select(market.symbols)
    if len(detail) != len(market) * (market.interval // detail.interval):
        detail = detail.between(market.start, market.end)
    ratio = market.interval // detail.interval
    last = last_bars(market)
    made, notes = bars_of(detail, np.where(last >= 0, (last + 1) * ratio - 1, -1), "detail: ")
    return detail, made, notes + _differences(market, bars, made, ratio)


def _differences(market: Market, bars: Bars, fine: Bars, ratio: int) -> list[str]:
    """Whether the finer bars are of the same market at all."""
    notes, ends = [], slice(ratio - 1, None, ratio)
    there = bars.present & fine.present[ends]
    off = there & (np.abs(fine.close[ends] / bars.close - 1.0) > CLOSE_ENOUGH)
    bare = bars.present & ~fine.present.reshape(len(bars), ratio, -1).any(axis=1)
    for j, symbol in enumerate(market.symbols):
        if many := int(np.count_nonzero(off[:, j])):
            notes.append(f"detail: {symbol}: {many:,} closes differ from the bars' own by more than {CLOSE_ENOUGH:.1%}")
        if many := int(np.count_nonzero(bare[:, j])):
            notes.append(f"detail: {symbol}: {many:,} bars have no finer bars: nothing is triggered inside them")
    return notes


def _firsts(market: Market, fine: Market | None) -> Ints:
    if fine is None:
        return np.zeros(0, dtype=np.int64)
    return np.arange(len(market) + 1, dtype=np.int64) * (market.interval // fine.interval)


def _day_ends(market: Market) -> Flags:
    """Where the next bar opens on another UTC day."""
    ends = np.zeros(len(market), dtype=bool)
    if clock.DAY % market.interval == 0:
        a_day = clock.DAY // market.interval
        opened = (market.start % clock.DAY) // market.interval
        ends[a_day - 1 - opened :: a_day] = True
        return ends
    day = market.ts // clock.DAY
    ends[:] = (market.ts + market.interval) // clock.DAY > day
    return ends


def _warmup(market: Market, warmup: int | str) -> int:
    bars = market.bars(warmup) if isinstance(warmup, str) else warmup
    if not isinstance(bars, int | np.integer) or isinstance(bars, bool) or bars < 0:
        raise BadInput(f'warmup={warmup!r}: write a number of bars, 0 or more, or a duration such as "3d"')
    if bars >= len(market):
        raise BadInput(f"warmup is {bars:,} bars and the market has {len(market):,}: nothing is left to trade")
    return int(bars)


# ---- words -------------------------------------------------------------------------------------


def _marks(market: Market) -> list[str]:
    return [
        f"marks: {one.symbol}: {one.marks_exact:,} bars of mark prices, {one.marks_clipped:,} of trades inside coarser "
        f"mark bars, {one.marks_stood_in:,} of trades"
        for one in market.coverage.symbols
    ]


def _liquidation(venue: Venue) -> str:
    rule = venue.liquidation
    first = {
        "none": "all at once",
        "tier": "down a bracket first",
        "two_tiers": "down two brackets first",
        "fraction": f"{rule.fraction:.0%} first where above {rule.above:,.0f}",
    }[rule.reduction]
    rest = "the venue keeps what is left" if rule.residual == "takeover" else "what is left goes back"
    if rule.residual == "market" and rule.backstop:
        rest += f", but below {rule.backstop:.2g} of maintenance"
    return f"liquidation: {venue.name}: on the mark, at balance <= maintenance; {first}; {rest}"
