"""`stress`: what a shock does to a venue and its crowd, with the feedback and without.

    found = stress(World(), Shock.instant(-0.10))
    found = stress(machine, Shock.ramp(-0.15, 30), venue="hyperliquid", policy=Policy(adl="pro_rata"))
    found = stress(market, Shock.replay(market, "2025-10-10 20:00", "2025-10-10 23:00"), at="2025-10-10 20:00")
    found.summary, found.path, found.hit, found.plot()

1. The state: a machine as it stands; a world, which is run until a crowd has gathered; or a market, from whose open
   interest and prices a crowd is estimated (`backtest.crowd.estimate`).
2. The venue and its policy, where they are given: of the same accounts, which keep their positions. A policy brings its
   own fund. What new rules liquidate, they liquidate at once, before the shock.
3. The shock moves the fundamental, minute by minute, five minutes in; nothing else comes from outside. Unless `crowd`
   is "still", the crowd goes on trading: it follows trends, takes fright, funds buy what is cheap.
4. Without feedback, the price is the one before times the shock. What is beyond it is the market's own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from backtest.crowd.kernel import layout as at
from backtest.crowd.kernel.layout import Floats
from backtest.crowd.machine import History, Machine
from backtest.crowd.shock import LEAD_MINUTES, Shock
from backtest.crowd.world import Policy, World
from backtest.given import is_number
from backtest.venue import Venue
from backtest.venue import venue as venue_named
from data.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

    from data.market import Market

KINDS = {
    at.RETAIL: "crowd",
    at.CARRY: "carry",
    at.FUND: "fund",
    at.MAKER: "maker",
    at.ARBITRAGE: "arbitrage",
    at.GUEST: "guest",
}
RECOVERED = 0.1  # of the widest gap to the price without feedback
LONGEST_HOURS = 24.0 * 366.0
SMALLEST_WAVE = 0.01  # of the depth: a wave below it says nothing about the next
Crowd = Literal["reacts", "still"]


@dataclass(frozen=True)
class Stressed:
    """What a stress test found. Money is quote currency; moves are simple returns of the trade price."""

    shock: Shock
    venue: str
    policy: Policy
    history: History
    before: Machine  # as it stood
    after: Machine
    outside: Floats  # log return of the fundamental, a minute each

    @cached_property
    def price(self) -> Floats:
        return self.history.column(at.T_CLOSE)

    @cached_property
    def without_feedback(self) -> Floats:
        return np.asarray(self._start * np.exp(np.cumsum(self.outside)))

    @property
    def _start(self) -> float:
        return float(self.before.state[at.LAST])

    @property
    def side(self) -> int:
        """1: a fall, which throws out longs."""
        way = np.cumsum(self.shock.returns)
        return -1 if way.max() > -way.min() else 1

    @cached_property
    def summary(self) -> dict[str, float]:
        """One number for each question; NaN where it has no answer."""
        bars, s = self.history.bars, self.after.state
        price, plain = self.price, self.without_feedback
        extreme = bars[:, at.T_LOW].min() if self.side > 0 else bars[:, at.T_HIGH].max()
        exogenous = plain.min() if self.side > 0 else plain.max()
        held = self.before.state[at.LONG] * self._start
        waves = self.waves
        deficit, imposed = self.adl_need
        fund = bars[:, at.FUND_BALANCE]
        low = bars[:, at.FUND_LOW]
        start_fund = float(self.before.state[at.INSURANCE])
        return {
            "move without feedback": float(exogenous / self._start - 1.0),
            "move": float(extreme / self._start - 1.0),
            "move at the end": float(price[-1] / self._start - 1.0),
            "amplification": _ratio(math.log(extreme / self._start), math.log(exogenous / self._start)),
            "longs liquidated": float(bars[:, at.LIQ_LONG].sum()),
            "shorts liquidated": float(bars[:, at.LIQ_SHORT].sum()),
            "liquidated, part of open interest": float((bars[:, at.LIQ_LONG] + bars[:, at.LIQ_SHORT]).sum() / held),
            "stopped out": float(bars[:, at.STOPPED].sum()),
            "open interest lost": float(1.0 - bars[:, at.OI].min() / self.before.state[at.LONG]),
            "depth left": float(bars[:, [at.DEPTH_BID, at.DEPTH_ASK]].min() / self.before.rules.depth),
            "waves": float(len(waves)),
            "largest wave": float(waves[:, 0].max()) if len(waves) else 0.0,
            "R0": max_r0(waves, self.before.rules.depth),
            "fund before": start_fund,
            "fund at worst": float(min(low.min(), start_fund)),
            "fund after": float(fund[-1]),
            "bad debt": float(s[at.BAD_DEBT] - self.before.state[at.BAD_DEBT]),
            "ADL": float(bars[:, at.ADL].sum()),
            "ADL accounts": float(len(np.unique(self._adl[:, at.E_ACCOUNT]))),
            "ADL largest share": self.adl_largest_share,
            "ADL haircut": imposed,
            "ADL needed": deficit,
            "ADL overshoot": imposed - deficit,
            "recovery minutes": self.recovery_minutes,
        }

    @cached_property
    def waves(self) -> Floats:
        """Rows of (newly triggered, sent, number in its tick, step), quote currency."""
        rows = self.history.events[self.history.events[:, at.E_KIND] == at.WAVE_EVENT]
        return np.asarray(rows[:, [at.E_QUANTITY, at.E_EXTRA, at.E_ACCOUNT, at.E_STEP]])

    @cached_property
    def _adl(self) -> Floats:
        return np.asarray(self.history.events[self.history.events[:, at.E_KIND] == at.ADL_EVENT])

    @cached_property
    def adl_need(self) -> tuple[float, float]:
        """What the fund lacked at the mark when positions were closed against winners, and what the winners lost.

        By the minute: the loss that the venue's positions had at the mark, less what was in the fund at its start.
        """
        rows, need, imposed = self._adl, 0.0, 0.0
        first = self.history.first
        balance = np.concatenate(([self.before.state[at.INSURANCE]], self.history.column(at.FUND_BALANCE)))
        for step in np.unique(rows[:, at.E_STEP]):
            some = rows[rows[:, at.E_STEP] == step]
            # a winner sells (gives up a long) above, or buys below, the price that the mark would have given
            given = some[:, at.E_QUANTITY] * (some[:, at.E_MARK] - some[:, at.E_PRICE])
            lost = float(np.sum(given))
            imposed += max(lost, 0.0)
            need += max(lost - max(float(balance[int(step) - first]), 0.0), 0.0)
        return need, imposed

    @cached_property
    def adl_largest_share(self) -> float:
        """The largest part of its equity that deleveraging took from one account at once; NaN: there was none."""
        rows = self._adl
        if not len(rows):
            return math.nan
        lost = rows[:, at.E_QUANTITY] * (rows[:, at.E_MARK] - rows[:, at.E_PRICE])
        return float(np.max(lost / np.maximum(rows[:, at.E_EQUITY], 1e-9)))

    @cached_property
    def recovery_minutes(self) -> float:
        """From the widest gap to the price without feedback until a tenth of it is left. NaN: not in this time."""
        gap = self.side * np.log(self.without_feedback / self.price)
        worst = int(np.argmax(gap))
        if gap[worst] <= 0.0:
            return 0.0
        later = np.flatnonzero(gap[worst:] <= RECOVERED * gap[worst])
        return float(later[0]) if len(later) else math.nan

    @property
    def path(self) -> pd.DataFrame:
        """Minute by minute."""
        import pandas as pd

        bars = self.history.bars
        names = {
            "price": at.T_CLOSE, "low": at.T_LOW, "high": at.T_HIGH, "mark": at.M_CLOSE, "index": at.I_CLOSE,
            "open_interest": at.OI, "bid_depth": at.DEPTH_BID, "ask_depth": at.DEPTH_ASK,
            "longs_liquidated": at.LIQ_LONG, "shorts_liquidated": at.LIQ_SHORT, "stopped": at.STOPPED,
            "adl": at.ADL, "fund": at.FUND_BALANCE, "waves": at.N_WAVES,
        }  # fmt: skip
        frame = pd.DataFrame({name: bars[:, column] for name, column in names.items()})
        frame.insert(1, "without_feedback", self.without_feedback)
        frame.index = pd.RangeIndex(len(frame), name="minute") - LEAD_MINUTES
        return frame

    @property
    def hit(self) -> pd.DataFrame:
        """Whom ADL closed: one row a kind of account, with how levered and how much in profit they were."""
        import pandas as pd

        rows = self._adl
        mark = rows[:, at.E_MARK]
        frame = pd.DataFrame(
            {
                "who": [KINDS[int(k)] for k in self.before.accounts[at.KIND, rows[:, at.E_ACCOUNT].astype(int)]],
                "account": rows[:, at.E_ACCOUNT].astype(int),
                "notional": np.abs(rows[:, at.E_QUANTITY]) * mark,
                "haircut": rows[:, at.E_QUANTITY] * (mark - rows[:, at.E_PRICE]),
                "leverage": rows[:, at.E_EXTRA],
                "profit over equity": rows[:, at.E_BANKRUPT],
            }
        )
        grouped = frame.groupby("who")
        return pd.DataFrame(
            {
                "accounts": grouped["account"].nunique(),
                "notional": grouped["notional"].sum(),
                "haircut": grouped["haircut"].sum(),
                "median leverage": grouped["leverage"].median(),
                "in profit": grouped["profit over equity"].agg(lambda x: float((x > 0.0).mean())),
                "median profit over equity": grouped["profit over equity"].median(),
            }
        )

    def plot(self) -> Any:
        """Price with and without feedback, what was forced, open interest, depth and fund, as a plotly figure."""
        from backtest.crowd.figures import stressed

        return stressed(self)

    def __str__(self) -> str:
        s = self.summary
        lines = [
            f"{self.shock.name} on {self.venue}: {s['move']:+.1%} at worst ({s['move without feedback']:+.1%} without "
            f"feedback, amplification {s['amplification']:.2f})",
            f"liquidated {s['longs liquidated'] / 1e6:,.1f} M long, {s['shorts liquidated'] / 1e6:,.1f} M short "
            f"({s['liquidated, part of open interest']:.1%} of open interest) in {s['waves']:,.0f} waves, largest R0 "
            f"{s['R0']:.2f}",
            f"fund {s['fund before'] / 1e6:,.2f} -> {s['fund after'] / 1e6:,.2f} M, at worst "
            f"{s['fund at worst'] / 1e6:,.2f} M; ADL {s['ADL'] / 1e6:,.2f} M of {s['ADL accounts']:,.0f} accounts; "
            f"bad debt {s['bad debt'] / 1e6:,.2f} M",
        ]
        return "\n".join(lines)


SMALLEST_SHOCK = 0.005  # log: what comes after less is hardly its doing


def _ratio(a: float, b: float) -> float:
    return a / b if abs(b) >= SMALLEST_SHOCK else math.nan


def max_r0(waves: Floats, book: float) -> float:
    """The largest ratio, on the way, of what a wave triggered to what was sold in the wave before, in the same tick.

    Waves below 1 % of the book start nothing that counts. NaN: no wave was larger. Within a tick nothing comes from
    outside: what the second wave and later ones trigger is the selling's doing alone.
    """
    sent = waves[:, 1]
    follows = np.append(waves[1:, 2] == waves[:-1, 2] + 1.0, False) if len(waves) else np.empty(0, bool)
    triggered = np.where(follows, np.append(waves[1:, 0], 0.0), 0.0) if len(waves) else np.empty(0)
    counts = sent >= SMALLEST_WAVE * book
    return float((triggered[counts] / sent[counts]).max()) if counts.any() else math.nan


def stress(
    state: Machine | World | Market,
    shock: Shock | float,
    venue: Venue | str | None = None,
    policy: Policy | None = None,
    *,
    hours: float = 6.0,
    crowd: Crowd = "reacts",
    depth: float | None = None,
    haircut: float = 0.0,
    noise: int | None = None,
    seed: int = 7,
    **estimate: Any,
) -> Stressed:
    """One shock. A number is `Shock.instant` of it.

    `depth`: quote currency within 1 % instead of the state's. `haircut`: part of the crowd's collateral that is gone
    from the start (a stable coin off its peg). `noise`: a seed for the market's usual small moves; without it
    nothing but the shock moves the price from outside. `estimate`: of a market, what `estimated_machine` takes.
    """
    shock = shock if isinstance(shock, Shock) else Shock.instant(shock)
    if crowd not in ("reacts", "still"):
        raise BadInput(f"crowd={crowd!r}: {did_you_mean(str(crowd), ('reacts', 'still'))}")
    if not (is_number(hours) and 0.0 < hours <= LONGEST_HOURS):
        raise BadInput(f"hours={hours!r}: write how long to go on, such as 6, at most {LONGEST_HOURS:g}")
    if not (is_number(haircut) and 0.0 <= haircut < 1.0):
        raise BadInput(f"haircut={haircut!r}: write a fraction from 0 to below 1, such as 0.05")
    before = prepared(state, venue, policy, depth, seed, **estimate)
    if haircut > 0.0:
        take_haircut(before, haircut)
    after = before.copy()
    if crowd == "still":
        after.rules = after.rules._replace(trades=0)
    minutes = max(round(hours * 60.0), shock.minutes + LEAD_MINUTES)
    if after.world.step_minutes != 1.0:
        raise BadInput(f"a stress test goes by the minute; this world has steps of {after.world.step_minutes:g}")
    rng = None if noise is None else np.random.default_rng([noise, 3])
    tides = float(before.state[at.MOOD]), float(before.state[at.SENTIMENT])
    path = shock.path(minutes, before.world.sigma, rng, tides)
    history = after.run(count=minutes, path=path)
    return Stressed(shock, after.world.venue.name, after.world.policy, history, before, after, path[:, 0])


def prepared(
    state: Machine | World | Market, venue: Venue | str | None, policy: Policy | None, depth: float | None, seed: int,
    **estimate: Any,
) -> Machine:  # fmt: skip
    """A machine of its own, under the venue, policy and depth asked for."""
    profile = venue_named(venue, "linear") if isinstance(venue, str) else venue
    if isinstance(state, World):
        return Machine(_changed(state, profile, policy, depth), seed=seed)
    if not isinstance(state, Machine):
        from backtest.crowd.estimate import estimated_machine

        machine: Machine = estimated_machine(state, seed=seed, **estimate)
    elif estimate:
        raise BadInput(f"{', '.join(estimate)}: only where the crowd is estimated from a market")
    else:
        machine = state
    made = machine.copy(world=_changed(machine.world, profile, policy, depth))
    if policy is not None:
        fund = policy.fund * made.world.coin.money
        made.state[at.DEPOSITED] += fund - made.state[at.INSURANCE]
        made.state[at.INSURANCE] = made.state[at.PEAK_FUND] = fund
    return made


def _changed(world: World, venue: Venue | None, policy: Policy | None, depth: float | None) -> World:
    if depth is not None and not (is_number(depth) and depth > 0.0):
        raise BadInput(f"depth={depth!r}: write quote currency within 1 %, above 0")
    deeper = 1.0 if depth is None else depth / world.coin.depth
    return replace(
        world,
        book=replace(world.book, premium_slope=world.book.premium_slope * deeper),  # in coins it stays what it is
        venue=venue or world.venue,
        tier_changes=world.tier_changes if venue is None else (),
        policy=policy or world.policy,
        coin=world.coin if depth is None else replace(world.coin, depth=depth),
    )


def take_haircut(machine: Machine, part: float) -> None:
    """The crowd's collateral is worth less, at once; the money is gone from the venue."""
    a = machine.accounts
    crowd = (a[at.KIND] == at.RETAIL) | (a[at.KIND] == at.GUEST)
    gone = part * (np.maximum(a[at.FREE, crowd], 0.0) + np.maximum(a[at.MARGIN, crowd], 0.0))
    for row in (at.FREE, at.MARGIN):
        a[row, crowd] -= part * np.maximum(a[row, crowd], 0.0)
    machine.state[at.DEPOSITED] -= math.fsum(gone)
    machine.tiers_changed()
