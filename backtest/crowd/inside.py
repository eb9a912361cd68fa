"""A strategy inside the machine: one more account, whose orders and liquidation move the market it trades in.

    found = inside(FundingFade(), World(), days=30, equity=5e6)
    found.table          the same strategy on the recorded path, and inside

Two machines with the same seed: in one, nobody comes in; what it records is the path that a backtest would be given. In
the other the strategy's account trades. Each bar:

1. The strategy sees the market up to the bar's close, as in a backtest, and decides.
2. Its order goes to the book in the first minute of the next bar, moves the price, and pays what that costs.
3. Its stop, its margin and its liquidation are the venue's business, like everybody's.

The account is cross. Of the reserved fields `stop_loss` is known inside; others are refused. The recorded path is
traded by `simulate`, with its model of costs: the difference between the two is what that model does not know.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.crowd.as_market import START, market_of
from backtest.crowd.kernel import layout as at
from backtest.crowd.kernel.layout import Floats
from backtest.crowd.kernel.levels import balance, set_levels
from backtest.crowd.machine import History, Machine
from backtest.crowd.world import World
from backtest.features import features_of, reserved_of
from backtest.given import is_number
from backtest.margin import maintenance
from backtest.strategy import HOLD, Strategy
from data import clock
from data.errors import BadInput

if TYPE_CHECKING:
    import pandas as pd

    from backtest.result import Result
    from data.market import Market

NEVER = 1e9  # bars since a liquidation that has not been
LARGEST_PART = 0.5  # of the open interest: an account beyond it is the market


@dataclass(frozen=True)
class Inside:
    """The same strategy twice: on the recorded path, and in the market."""

    outside: Result
    equity: Floats  # inside, at the close of each bar
    position: Floats  # coins
    price: Floats  # of the market with it, at the close of each bar
    recorded_price: Floats
    liquidated: int
    traded: float  # quote currency
    fees: float
    funding: float
    start: float

    @property
    def table(self) -> pd.DataFrame:
        import pandas as pd

        m = self.outside.measures
        peak = np.maximum.accumulate(np.concatenate(([self.start], self.equity)))[1:]
        return pd.DataFrame(
            {
                "on the recorded path": {
                    "return": m["total_return"],
                    "maximum drawdown": m["max_drawdown"],
                    "fees": m["fees"],
                    "funding": m["funding"],
                    "liquidations": m["liquidations"],
                    "price at the end": self.recorded_price[-1],
                },
                "inside": {
                    "return": self.equity[-1] / self.start - 1.0,
                    "maximum drawdown": float(np.max(1.0 - self.equity / peak)),
                    "fees": self.fees,
                    "funding": self.funding,
                    "liquidations": float(self.liquidated),
                    "price at the end": self.price[-1],
                },
            }
        )


@dataclass
class _Account:
    """What `decide` may ask about the account, between bars."""

    peak: float
    bars_held: int = 0
    since_liquidation: float = NEVER
    liquidated: int = 0


def inside(
    strategy: Strategy | type[Strategy],
    world: World | None = None,
    *,
    days: int = 30,
    warm_days: int = 30,
    bar: str = "1h",
    equity: float = 1e6,
    seed: int = 7,
) -> Inside:
    """`warm_days` of history come before the first decision, for the strategy's windows."""
    from backtest.account import Account
    from backtest.engine import simulate

    one = strategy() if isinstance(strategy, type) else strategy
    length = clock.duration(bar) // clock.MINUTE
    place = world or World()
    if place.step_minutes != 1.0:
        raise BadInput(f"inside goes by the minute; this world has steps of {place.step_minutes:g} minutes")
    if clock.duration(bar) % clock.MINUTE or 1440 % length:
        raise BadInput(f"bar={bar!r}: write whole minutes that divide a day, such as 1h")
    if not (is_number(equity) and equity > 0.0):
        raise BadInput(f"equity={equity!r}: write money, such as 1e6")
    machine = Machine(place, seed=seed, guests=(equity,))
    past = machine.run(days=warm_days)
    alone = machine.copy()
    recorded = _joined(past, [alone.run(days=days)])
    market = market_of(recorded, place).resample(bar)
    cut = clock.iso(START + warm_days * clock.DAY)
    bars = 1440 * warm_days // length
    result = simulate(
        market, one, venue=place.venue, account=Account(equity=equity, mode="cross"), warmup=max(bars - 1, 0)
    )
    walk = _walk(machine, past, one, place, days * 1440 // length, length, bar, equity)
    return replace(walk, outside=result, recorded_price=np.asarray(market[cut:].close))


def _walk(
    machine: Machine, past: History, strategy: Strategy, world: World, bars: int, length: int, bar: str, start: float
) -> Inside:
    i = machine.places.guests
    account = _Account(peak=start)
    parts: list[History] = []
    equities, positions, prices = np.empty(bars), np.empty(bars), np.empty(bars)
    traded = 0.0
    order = _order(machine, account, strategy, market_of(past, world).resample(bar), i)
    for k in range(bars):
        held = float(machine.accounts[at.Q, i])
        first = machine.step([order])
        rest = machine.run(count=length - 1)
        parts += [first, rest]
        price = float(machine.state[at.LAST])
        if machine.accounts[at.Q, i] != held:
            traded += abs(order) * float(first.bars[0, at.T_OPEN])
        events = np.concatenate([h.events for h in (first, rest)])
        hit = events[(events[:, at.E_KIND] == at.LIQUIDATION_EVENT) & (events[:, at.E_ACCOUNT] == i)]
        _age(account, held, float(machine.accounts[at.Q, i]), len(hit) > 0)
        worth = float(machine.equities()[i])
        account.peak = max(account.peak, worth)
        equities[k], positions[k], prices[k] = worth, machine.accounts[at.Q, i], price
        if k < bars - 1:
            seen = _joined(past, parts)
            order = _order(machine, account, strategy, market_of(seen, world).resample(bar), i)
    fees, funding = (float(machine.accounts[row, i]) for row in (at.FEES_PAID, at.FUNDING_PAID))
    nothing: Any = None
    return Inside(nothing, equities, positions, prices, prices, account.liquidated, traded, fees, -funding, start)


def _age(account: _Account, held: float, holds: float, hit: bool) -> None:
    account.since_liquidation += 1.0
    if hit:
        account.since_liquidation = 0.0
        account.liquidated += 1
    if holds == 0.0:
        account.bars_held = 0
    else:
        account.bars_held = account.bars_held + 1 if held * holds > 0.0 else 1


def _joined(past: History, parts: list[History]) -> History:
    every = [past, *parts]
    return History(
        past.step_minutes,
        past.first,
        np.concatenate([h.bars for h in every]),
        past.events,
        np.concatenate([h.settled for h in every]),
        np.concatenate([h.rate for h in every]),
        np.concatenate([h.hours for h in every]),
        np.concatenate([h.price for h in every]),
        np.concatenate([h.news for h in every]),
    )


def _order(machine: Machine, account: _Account, strategy: Strategy, market: Market, i: int) -> float:
    """Coins to trade at the next open."""
    from backtest.decide.binding import bind

    features, _ = features_of(strategy, market.features_view())
    reserved = reserved_of(strategy, features)
    for name in reserved:
        if name != "stop_loss":
            raise BadInput(f"{type(strategy).__name__}: {name} is not known inside the machine; only stop_loss is")
    binding = bind(strategy, features)
    a, mark = machine.accounts, float(machine.state[at.MARK])
    given = _state(machine, account, i) | {name: float(np.asarray(v)[-1]) for name, v in features.items()}
    given |= {name: float(getattr(strategy, name)) for name in binding.parameters}
    answer = binding.function(*binding.plain([given[name] for name in binding.arguments]))
    if answer is None or math.isnan(float(answer)):
        raise BadInput(f"{binding.owner}.decide returned {answer!r}: return a number or HOLD")
    _set_stop(machine, i, reserved)
    if float(answer) == HOLD:
        return 0.0
    worth = float(machine.equities()[i])
    wanted = max(float(answer) * worth / mark, -1e300) if worth > 0.0 else 0.0
    most = LARGEST_PART * float(machine.state[at.LONG])
    if abs(wanted) > most:
        raise BadInput(f"a position of {abs(wanted) * mark:,.0f} is more than half of the open interest: less equity")
    lot = machine.world.coin.lot
    dq = wanted - float(a[at.Q, i])
    return math.copysign(math.floor(abs(dq) / lot + 1e-9) * lot, dq) if wanted != 0.0 else -float(a[at.Q, i])


def _set_stop(machine: Machine, i: int, reserved: dict[str, Any]) -> None:
    distance = reserved.get("stop_loss", math.nan)
    last = float(np.asarray(distance).reshape(-1)[-1])
    machine.accounts[at.STOP_DISTANCE, i] = last if last > 0.0 else 0.0
    set_levels(machine.accounts, machine.bounds, i, machine.tiers, machine.rules, machine.state[at.MARK])


def _state(machine: Machine, account: _Account, i: int) -> dict[str, float]:
    a, mark = machine.accounts, float(machine.state[at.MARK])
    q, worth = float(a[at.Q, i]), float(machine.equities()[i])
    held = q != 0.0 and worth > 0.0
    keep = maintenance(machine.tiers, 0, len(machine.tiers), machine.rules.closing_fee, abs(q) * mark)
    behind = float(balance(a, i, mark))
    return {
        "position": q * mark / worth if held else 0.0,
        "entry_price": float(a[at.ENTRY, i]) if held else math.nan,
        "bars_held": float(account.bars_held),
        "unrealized": q * (mark - float(a[at.ENTRY, i])) / worth if held else 0.0,
        "equity": worth,
        "drawdown": 1.0 - worth / account.peak,
        "margin_ratio": keep / behind if held and behind > 0.0 else 0.0,
        "bars_since_liquidation": account.since_liquidation,
    }
