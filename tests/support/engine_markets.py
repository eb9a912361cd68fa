"""Small markets for the engine: by hand (`prepared`), or drawn (`recipes`, `made`) so that accounts get into trouble.

A recipe is a seed and the features that are on. `made` turns it into the arrays that the engine takes: violent paths
with gaps, marks that go their own way, missing bars, settlements, tier tables that change, and decisions with too much
leverage. `differences` compares two runs row by row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numba
import numpy as np
import numpy.typing as npt
from example_counts import many
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from backtest.prepare import (
    ADL_EVENT,
    CROSS,
    EVENT,
    FUNDING_EVENT,
    INVERSE,
    ISOLATED,
    LINEAR,
    SPOT,
    TIER_ROW,
    TIER_TABLE,
    Bars,
    Contracts,
    Decisions,
    Prepared,
    Taking,
)
from backtest.records import Cash, Run
from backtest.strategy import HOLD
from data import clock
from data.align import Bars as MarketBars
from data.market import Market, Settlements, SymbolData

Floats = npt.NDArray[np.float64]
NAN = float("nan")
PRICES = ("open", "high", "low", "close")

# ---- by hand -------------------------------------------------------------------------------------


def bars_of(trade: Any, mark: Any = None, present: Any = None) -> Bars:
    """(n, 4) or (n, k, 4) of open, high, low, close; the mark is the trade where it is not given."""
    trade = np.asarray(trade, dtype=float)
    trade = trade[:, None, :] if trade.ndim == 2 else trade
    mark = trade if mark is None else np.asarray(mark, dtype=float).reshape(trade.shape)
    here = (
        np.ones(trade.shape[:2], dtype=bool) if present is None else np.asarray(present, bool).reshape(trade.shape[:2])
    )
    columns = [np.ascontiguousarray(source[:, :, j]) for source in (trade, mark) for j in range(4)]
    return Bars(*columns, present=here)


def event(
    bar: int, rate: float, *, inside: int = 0, symbol: int = 0, price: float = NAN, kind: int = FUNDING_EVENT
) -> Any:
    return (bar, inside, symbol, kind, -1, rate, price)


def tier_tables(symbols: int, tables: Sequence[tuple[int, int, Sequence[tuple[float, ...]]]]) -> tuple[Any, Any]:
    """(symbol, bar, rows) each; symbols without a table have one tier without maintenance."""
    given = {symbol for symbol, _, _ in tables}
    free = [(j, 0, [(0.0, 1e15, 0.0, 1e9, 0.0)]) for j in range(symbols) if j not in given]
    rows: list[tuple[float, ...]] = []
    heads = []
    for symbol, bar, own in sorted([*tables, *free], key=lambda table: table[:2]):
        heads.append((symbol, bar, len(rows), len(own)))
        rows += own
    return np.array(rows, dtype=TIER_ROW), np.array(heads, dtype=TIER_TABLE)


def prepared(
    bars: Bars, *, kind: Any = LINEAR, mode: Any = ISOLATED, tiers: Any = (), events: Any = (), **rules: Any
) -> Prepared:
    """A venue without fees, costs or maintenance; name what it has. tiers: rows, or (symbol, bar, rows)."""
    n, k = bars.close.shape
    if tiers and not isinstance(tiers[0][-1], list | tuple):
        tiers = [(j, 0, tiers) for j in range(k)]
    rows, heads = tier_tables(k, tiers)
    per_symbol = {"lot": 0.0, "tick": 0.0, "min_notional": 0.0, "last_bar": -1, "pair": -1}
    given = {name: np.broadcast_to(rules.pop(name, value), k) for name, value in per_symbol.items()}
    contracts = Contracts(
        kind=np.broadcast_to(kind, k).astype(np.int64),
        mode=np.broadcast_to(mode, k).astype(np.int64),
        lot=given["lot"].astype(float),
        tick=given["tick"].astype(float),
        min_notional=given["min_notional"].astype(float),
        last_bar=given["last_bar"].astype(np.int64),
        pair=given["pair"].astype(np.int64),
    )
    zero = np.zeros((n, k))
    made: dict[str, Any] = {
        "bars": bars,
        "taking": Taking(zero, zero, zero, 0.5),
        "volume": np.full((n, k), 1e12),
        "contracts": contracts,
        "events": np.array(list(events), dtype=EVENT),
        "tier_rows": rows,
        "tier_tables": heads,
        "day_end": np.zeros(n, dtype=bool),
        "detail": None,
        "detail_first": np.zeros(n + 1, dtype=np.int64),
        **dict.fromkeys(("maker", "taker", "liquidation_fee", "closing_fee"), 0.0),
        "whole_tiers": False,
        **dict.fromkeys(("reduction", "residual", "shortfall", "path", "delay", "warmup"), 0),
        **dict.fromkeys(("reduction_fraction", "reduction_above", "backstop", "collateral_weight", "cash_rate"), 0.0),
        "equity": 1000.0,
        "leverage": 0.0,
        "participation": 0.0,
    }
    return Prepared(**{**made, **rules})


def decisions(targets: Any, **fields: Any) -> Decisions:
    """(n,) or (n, k); None is HOLD. Fields: one number for all bars, or an array like the targets."""
    target = np.array(
        [[HOLD if x is None else x for x in np.atleast_1d(np.array(row, object))] for row in targets], float
    )
    return Decisions(
        target, **{name: np.broadcast_to(value, target.shape).astype(float) for name, value in fields.items()}
    )


# ---- drawn ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Recipe:
    """What is in a drawn market; everything else comes from the seed."""

    seed: int = 0
    bars: int = 20
    symbols: int = 1
    kinds: str = "linear"  # linear, inverse, carry (spot and linear), any
    modes: str = "isolated"  # isolated, cross, mixed
    leverage: float = 0.0
    violence: float = 0.03  # standard deviation of a bar's return
    calm_mark: bool = True
    gaps: bool = False
    missing: bool = False
    delisted: bool = False
    funding: bool = False
    deleveraging: bool = False
    maintenance: bool = True
    whole_tiers: bool = False
    dated_tiers: bool = False
    lots: bool = False
    small_orders: bool = False  # a minimum notional
    costs: bool = False
    fees: bool = False
    stops: bool = False
    limits: bool = False
    participation: float = 0.0
    delay: int = 0
    warmup: int = 0
    detail: int = 0  # finer bars a bar
    loose: bool = False  # extremes of the coarse bars are not those of the finer ones
    reduction: int = 0
    residual: int = 0
    shortfall: int = 0
    path: int = 0
    pairs: bool = False
    collateral: float = 0.0
    cash_rate: float = 0.0
    equity: float = 10_000.0
    patience: float = 0.7  # part of the bars in which nothing is decided


flags = st.booleans()
recipes = st.builds(
    Recipe,
    seed=st.integers(0, 2**32 - 1),
    bars=st.integers(5, 60).map(lambda n: 65 - n),
    symbols=st.sampled_from([1, 2, 2, 3, 4]),
    kinds=st.sampled_from(["linear", "linear", "inverse", "carry", "any"]),
    modes=st.sampled_from(["isolated", "cross", "mixed"]),
    leverage=st.sampled_from([0.0, 3.0, 10.0, 25.0, 0.0, 1.0, 100.0]),
    violence=st.sampled_from([0.03, 0.06, 0.01, 0.12]),
    calm_mark=flags,
    gaps=flags,
    missing=flags,
    delisted=flags,
    funding=flags,
    deleveraging=flags,
    maintenance=st.sampled_from([True, True, True, False]),
    whole_tiers=flags,
    dated_tiers=flags,
    lots=flags,
    small_orders=flags,
    costs=flags,
    fees=flags,
    stops=st.sampled_from([False, False, True]),
    limits=flags,
    participation=st.sampled_from([0.0, 0.0, 0.2, 1.0]),
    delay=st.sampled_from([0, 0, 1, 3]),
    warmup=st.sampled_from([0, 0, 3]),
    detail=st.sampled_from([0, 0, 3]),
    loose=flags,
    reduction=st.sampled_from([0, 1, 2, 3, 1, 3]),
    residual=st.integers(0, 1),
    shortfall=st.integers(0, 1),
    path=st.sampled_from([0, 0, 1, 2]),
    pairs=flags,
    collateral=st.sampled_from([0.0, 0.5, 0.95]),
    cash_rate=st.sampled_from([0.0, 0.05]),
    equity=st.sampled_from([100.0, 10_000.0, 3e7]),
)


def recipes_with(**fixed: Any) -> st.SearchStrategy[Recipe]:
    return recipes.map(lambda recipe: replace(recipe, **fixed))


def some(examples: int) -> settings:
    """So many examples, fewer in CI; a tenth of them where the compiled engine is not compiled."""
    number = max(5, examples // 10) if numba.config.DISABLE_JIT else many(examples)
    return settings(max_examples=number, suppress_health_check=list(HealthCheck))


def made(recipe: Recipe) -> tuple[Prepared, Decisions]:
    return Maker(recipe).market()


class Maker:
    """One recipe at work."""

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe
        self.n, self.k = recipe.bars, recipe.symbols
        self.rng = np.random.default_rng(recipe.seed)
        self.steps = max(1, recipe.detail)
        self.kind = self.kinds()
        self.base = 10.0 ** self.rng.uniform(-1.0, 4.5, self.k)
        self.most = recipe.leverage or float(self.rng.choice([1.0, 5.0, 10.0, 25.0]))  # of a target
        # equity of inverse contracts is in coin, and the notional of a position in quote currency
        self.unit = np.where(self.kind == INVERSE, self.base, 1.0 / self.base) * recipe.equity

    def kinds(self) -> npt.NDArray[np.int64]:
        name, k = self.recipe.kinds, self.k
        if name == "carry":
            return np.array([(SPOT, LINEAR)[j % 2] for j in range(k)], dtype=np.int64)
        if name == "any":
            return self.rng.integers(0, 3, k).astype(np.int64)
        return np.full(k, INVERSE if name == "inverse" else LINEAR, dtype=np.int64)

    def market(self) -> tuple[Prepared, Decisions]:
        recipe, rng = self.recipe, self.rng
        fine, coarse, last_bar = self.paths()
        events = self.events(coarse, last_bar)
        tables = self.tables()
        n, k = self.n, self.k
        mode = {"isolated": np.full(k, ISOLATED), "cross": np.full(k, CROSS), "mixed": rng.integers(0, 2, k)}[
            recipe.modes
        ]
        on = self.rng.uniform(0.2, 1.0, 6).tolist()
        rules: dict[str, Any] = {
            "kind": self.kind,
            "mode": np.where(self.kind == SPOT, CROSS, mode),
            "lot": self.unit * 10.0 ** rng.uniform(-3, -1, k) * recipe.lots,
            "tick": self.base * 10.0 ** rng.uniform(-5, -2.5, k) * recipe.lots,
            "min_notional": recipe.equity * rng.uniform(0.0, 0.2, k) * recipe.small_orders,
            "last_bar": last_bar,
            "pair": self.pairs(),
            "tiers": tables,
            "events": events,
            "taking": self.taking(),
            "volume": np.abs(rng.normal(size=(n, k))) * 4.0 * self.unit * (rng.random((n, k)) < 0.9),
            "day_end": np.arange(n) % 4 == 3,
            "maker": (0.0004 * on[0] - 0.0001) * recipe.fees,
            "taker": 0.001 * on[1] * recipe.fees,
            "liquidation_fee": 0.02 * on[2] * recipe.fees,
            "closing_fee": 0.001 * on[3] * (recipe.fees and on[0] < 0.5),
            "whole_tiers": recipe.whole_tiers,
            "reduction": recipe.reduction,
            "reduction_fraction": 0.6 * on[4],
            "reduction_above": recipe.equity * on[5],
            "residual": recipe.residual,
            "backstop": 2.0 / 3.0,
            "equity": recipe.equity,
            "leverage": recipe.leverage,
            "shortfall": recipe.shortfall,
            "path": recipe.path,
            "collateral_weight": recipe.collateral,
            "cash_rate": recipe.cash_rate,
            "participation": recipe.participation,
            "delay": recipe.delay,
            "warmup": min(recipe.warmup, n),
        }
        if recipe.detail:
            rules |= {"detail": fine, "detail_first": np.arange(n + 1, dtype=np.int64) * self.steps}
        return prepared(coarse, **rules), self.decisions()

    # prices

    def paths(self) -> tuple[Bars, Bars, npt.NDArray[np.int64]]:
        """Finer bars, the bars made of them, and the last bar of symbols that are delisted."""
        n, k, steps, rng = self.n, self.k, self.steps, self.rng
        trade = self.trades(n * steps)
        mark = self.marks(trade)
        present = np.ones((n * steps, k), dtype=bool)
        if self.recipe.missing:
            present &= np.repeat(rng.random((n, k)) > 0.15, steps, axis=0) & (rng.random((n * steps, k)) > 0.05)
        last_bar = np.full(k, -1)
        if self.recipe.delisted:
            last_bar = np.where(rng.random(k) < 0.6, rng.integers(1, n, k), -1)
        for j in range(k):
            if last_bar[j] >= 0:
                present[(last_bar[j] + 1) * steps :, j] = False
            self.stand_still(trade, mark, present, j)
        coarse_present = present.reshape(n, steps, k).any(axis=1)
        coarse = [merged(bars, steps) for bars in (trade, mark)]
        if self.recipe.detail and self.recipe.loose:
            coarse = [self.loosened(bars) for bars in coarse]
        return bars_of(trade, mark, present), bars_of(*coarse, coarse_present), last_bar

    def loosened(self, bars: Floats) -> Floats:
        """Extremes nearer or farther, as another feed has them."""
        start, high, low, end = np.moveaxis(bars, 2, 0)
        rng = np.random.default_rng(self.recipe.seed + 1)
        up, down = np.exp(rng.normal(size=(2, *start.shape)) * self.recipe.violence)
        top, bottom = np.maximum(start, end), np.minimum(start, end)
        return np.stack([start, np.maximum(top, high * up), np.minimum(bottom, low * down), end], axis=2)

    def trades(self, m: int) -> Floats:
        """(m, k, 4): jumps in the returns, sometimes a gap between bars, wicks."""
        k, rng, recipe = self.k, self.rng, self.recipe
        scale = recipe.violence / np.sqrt(self.steps)
        common = rng.standard_t(3, (m, 1))
        body = scale * (0.6 * common + 0.6 * rng.standard_t(3, (m, k)))
        gap = rng.normal(size=(m, k)) * 3 * scale * (rng.random((m, k)) < 0.25) * recipe.gaps
        body, gap = np.clip(body, -0.7, 0.7), np.clip(gap, -0.5, 0.5)
        end = np.cumsum(body + gap, axis=0)
        end -= np.linspace(0, 1, m)[:, None] * np.where(np.abs(end[-1]) > 2, end[-1], 0.0)  # prices stay in sight
        start = np.vstack([np.zeros((1, k)), end[:-1]]) + gap
        wick = np.abs(rng.normal(size=(2, m, k))) * 0.7 * scale * (rng.random((2, m, k)) < 0.8)
        top, bottom = np.maximum(start, end) + wick[0], np.minimum(start, end) - wick[1]
        return np.exp(np.stack([start, top, bottom, end], axis=2)) * self.base[None, :, None]

    def marks(self, trade: Floats) -> Floats:
        rng = self.rng
        basis = rng.normal(size=(*trade.shape[:2], 2)) * 0.3 * self.recipe.violence
        start, end = trade[:, :, 0] * np.exp(basis[:, :, 0]), trade[:, :, 3] * np.exp(basis[:, :, 1])
        share = rng.random(trade.shape[:2]) if self.recipe.calm_mark else np.full(trade.shape[:2], 1.0)
        high = np.maximum(np.maximum(start, end), share * trade[:, :, 1])
        low = np.minimum(np.minimum(start, end), trade[:, :, 2] + (1.0 - share) * (end - trade[:, :, 2]))
        return np.stack([start, high, low, end], axis=2)

    def stand_still(self, trade: Floats, mark: Floats, present: Any, j: int) -> None:
        """A missing bar stands at the last mark; one before the first at the first. Now and then only trading stops."""
        alive = np.flatnonzero(present[:, j])
        if not alive.size:
            present[0, j], alive = True, np.array([0])
        goes_on = self.rng.random(len(present)) < 0.3
        for i in np.flatnonzero(~present[:, j]):
            if goes_on[i] and i < alive[-1]:
                trade[i, j] = mark[i, j]
            else:
                last = mark[i - 1, j, 3] if i else mark[alive[0], j, 0]
                trade[i, j] = mark[i, j] = last

    # the venue

    def events(self, bars: Bars, last_bar: npt.NDArray[np.int64]) -> list[Any]:
        recipe, rng, rows = self.recipe, self.rng, []
        for i in range(self.n):
            for inside in (0, 1):
                for j in range(self.k):
                    if self.kind[j] == SPOT or (last_bar[j] >= 0 and i > last_bar[j]):
                        continue
                    place = i * self.steps + (int(rng.integers(0, self.steps)) if inside else 0)
                    place = place if recipe.detail else -1
                    if recipe.funding and rng.random() < 0.25:
                        rate = rng.normal() * rng.choice([0.0005, 0.005, 0.03])
                        price = bars.mark_open[i, j] * rng.uniform(0.98, 1.02) if rng.random() < 0.5 else NAN
                        rows.append((i, inside, j, FUNDING_EVENT, place, rate, price))
                    if recipe.deleveraging and inside and rng.random() < 0.1:
                        part = rng.choice([0.3, 0.7, 1.0]) * rng.choice([-1, 1])
                        price = bars.mark_open[i, j] * rng.uniform(0.95, 1.05) if rng.random() < 0.5 else NAN
                        rows.append((i, inside, j, ADL_EVENT, place, part, price))
        return sorted(rows, key=lambda row: (row[0], row[1], row[4], row[2]))

    def tables(self) -> list[Any]:
        if not self.recipe.maintenance:
            return []
        made = []
        for j in range(self.k):
            if self.kind[j] == SPOT:
                continue
            starts = [0]
            if self.recipe.dated_tiers:
                starts += sorted({int(bar) for bar in self.rng.integers(1, self.n, 2)})
            made += [(j, bar, self.table(worse=1.0 + 4.0 * (bar > 0) * self.rng.random())) for bar in starts]
        return made

    def table(self, worse: float) -> list[tuple[float, ...]]:
        """Boundaries about where positions are; each tier asks for more and lends less."""
        rng, count = self.rng, int(self.rng.integers(1, 6))
        caps = [*np.cumsum(rng.uniform(0.1, 0.5, count - 1)) * self.recipe.equity * self.most, 1e15]
        mmr = np.minimum(np.cumsum(rng.uniform(0.1, 0.5, count)) / self.most**0.8 * 0.2 * worse, 0.5)
        most = np.minimum(125.0, 1.0 / mmr) * rng.choice([0.4, 1.0, 1.0])
        rows, cum, floor, before = [], 0.0, 0.0, 0.0
        for cap, rate, leverage in zip(caps, mmr, most, strict=True):
            cum += floor * (rate - before) * (floor > 0.0)
            rows.append(
                (floor, float(cap), float(rate), float(max(leverage, 1.0)), 0.0 if self.recipe.whole_tiers else cum)
            )
            floor, before = float(cap), float(rate)
        return rows

    def taking(self) -> Taking:
        n, k, rng = self.n, self.k, self.rng
        quote = np.where(self.kind == INVERSE, self.recipe.equity * self.base, self.recipe.equity)
        delta = float(rng.choice([0.3, 0.5]))
        spread, a, b = rng.random((3, n, k)) * np.array([0.002, 0.01, 0.005])[:, None, None] * self.recipe.costs
        wild = np.where(rng.random((n, k)) < 0.02, 50.0, 1.0)
        return Taking(spread, a * wild / quote**delta, b * wild / quote, delta)

    def pairs(self) -> npt.NDArray[np.int64]:
        pair = np.full(self.k, -1)
        if self.recipe.pairs:
            for j in range(0, self.k - 1, 2):
                pair[j], pair[j + 1] = j + 1, j
        return pair

    # the trader

    def decisions(self) -> Decisions:
        recipe, rng, shape = self.recipe, self.rng, (self.n, self.k)
        most = self.most * (1.3 if recipe.shortfall else 1.0)
        shares = np.where(rng.random(shape) < 0.3, 1.0, rng.random(shape)) / (1.0 if recipe.symbols == 1 else 1.5)
        side = np.where(self.kind == SPOT, np.where(rng.random(shape) < 0.9, 1, -1), rng.choice([-1, 1], shape))
        target = np.where(self.kind == SPOT, np.minimum(1.0, most), most) * shares * side
        target = np.where(rng.random(shape) < 0.15, 0.0, target)
        target = np.where(rng.random(shape) < recipe.patience, HOLD, target)
        target[0] = np.where(target[0] == HOLD, 0.9 * side[0], target[0])
        fields: dict[str, Floats] = {}
        near = recipe.violence
        if recipe.stops:
            for name in ("stop_loss", "take_profit", "trailing_stop"):
                fields[name] = np.where(rng.random(shape) < 0.5, NAN, near * rng.uniform(0.2, 2.5, shape))
        if recipe.limits:
            fields["limit_offset"] = np.where(
                rng.random(shape) < 0.4, NAN, near * rng.uniform(-0.2, 1.2, shape).clip(0)
            )
            fields["limit_ttl"] = np.where(rng.random(shape) < 0.3, NAN, rng.integers(0, 5, shape))
        return Decisions(target, **fields)


def merged(fine: Floats, steps: int) -> Floats:
    """Bars of `steps` finer ones."""
    blocks = fine.reshape(-1, steps, *fine.shape[1:])
    columns = [blocks[:, 0, :, 0], blocks[:, :, :, 1].max(axis=1), blocks[:, :, :, 2].min(axis=1), blocks[:, -1, :, 3]]
    return np.stack(columns, axis=2)


# ---- as a market ---------------------------------------------------------------------------------

COLUMNS = (*PRICES, "mark_open", "mark_high", "mark_low", "mark_close", "volume", "rate")


def columns_of(recipe: Recipe) -> dict[str, Floats]:
    """The drawn bars as a market knows them, (n, k) each; and settlement rates."""
    prepared, _ = made(recipe)
    columns = {name: getattr(prepared.bars, name).copy() for name in COLUMNS[:8]}
    rng = np.random.default_rng(recipe.seed)
    shape = prepared.bars.close.shape
    return columns | {"volume": rng.uniform(0.0, 100.0, shape), "rate": rng.normal(size=shape) * 0.001}


def market_of(columns: dict[str, Floats]) -> Market:
    """Perpetuals on hourly bars, with settlements every eight hours."""
    n, k = columns["close"].shape
    start = clock.moment("2024-01-01")
    stamps = start + np.arange(n) * clock.HOUR
    when = stamps[::8]
    data = {}
    for j in range(k):
        trade, mark = ({name: columns[prefix + name][:, j] for name in PRICES} for prefix in ("", "mark_"))
        rates, hours = columns["rate"][::8, j], np.full(len(when), 8.0)
        data[f"{'ABCD'[j]}/USDT:USDT"] = SymbolData(
            candles=MarketBars(clock.HOUR, stamps, **trade, volume=columns["volume"][:, j]),
            marks=(MarketBars(clock.HOUR, stamps, **mark),),
            funding=Settlements(when, when, when, rates, hours, np.full(len(when), NAN)),
        )
    return Market.build("test", data, clock.HOUR, start, start + n * clock.HOUR)


# ---- comparing -----------------------------------------------------------------------------------

AMOUNTS = {"amount", "wallet", "fee", "profit", "slippage", "insurance", "loss"}
QUANTITIES = {"quantity", "position"}
TABLES = ("ledger", "fills", "liquidations", "fundings", "refused")


def differences(a: Run, b: Run, prepared: Prepared, tolerance: float = 1e-9) -> list[str]:
    """What differs, in words; nothing: the runs are the same. Amounts are compared on the scale of the equity."""
    scale = prepared.equity
    largest = [np.abs(a.fills["position"][a.fills["symbol"] == j]).max(initial=0.0) for j in range(prepared.k)]
    found = []
    for name in TABLES:
        one, two = (rows(getattr(run, name), name, scale, tolerance) for run in (a, b))
        found += different_rows(name, one, two, scale, np.array(largest), tolerance)
    for name, series in a.series.items():
        here = scale if name in ("equity", "wallet") else 1.0
        found += different_arrays(name, series, b.series[name], here, tolerance)
    for name, series in a.leg_series.items():
        one, two = sizes(prepared, name, series), sizes(prepared, name, b.leg_series[name])
        here = {"position": np.array(largest), "liquidation_price": sizes(prepared, name, prepared.bars.mark_close)}
        found += different_arrays(name, one, two, here.get(name, 0.0), tolerance)
    found += different_arrays("margin_distance", a.margin_distance, b.margin_distance, 1.0, tolerance)
    for name in ("scaled", "ambiguous", "skipped", "ruined_bar"):
        one, two = getattr(a, name), getattr(b, name)
        found += [f"{name}: {one} and {two}"] * int(one != two)
    return found


def rows(table: Any, name: str, scale: float, tolerance: float) -> Any:
    """Amounts that are only rounding are not rows: what the fund keeps of 1e-13."""
    return table[np.abs(table["amount"]) > tolerance * scale] if name == "ledger" else table


def sizes(prepared: Prepared, name: str, prices: Any) -> Any:
    """Levels as sizes of the contract: that of an inverse short may be at ten thousand times the price."""
    return 1.0 / prices if name == "liquidation_price" and INVERSE in prepared.contracts.kind else prices


def different_rows(name: str, a: Any, b: Any, scale: float, largest: Floats, tolerance: float) -> list[str]:
    for number, (one, two) in enumerate(zip(a, b, strict=False)):
        for column in a.dtype.names:
            here = scale if column in AMOUNTS else largest[one["symbol"]] if column in QUANTITIES else 0.0
            if not close(np.array(one[column]), np.array(two[column]), here, tolerance).all():
                return [f"{name}[{number}].{column}:\n  {shown(one)}\n  {shown(two)}"]
    if len(a) != len(b):
        longer, which = (a, "first") if len(a) > len(b) else (b, "second")
        return [f"{name}: {len(a)} and {len(b)} rows; the {which} goes on with {shown(longer[min(len(a), len(b))])}"]
    return []


def shown(row: Any) -> str:
    return ", ".join(f"{name}={row[name].item()!r}" for name in row.dtype.names)


def different_arrays(name: str, a: Any, b: Any, scale: Any, tolerance: float) -> list[str]:
    if a.shape != b.shape:
        return [f"{name}: shapes {a.shape} and {b.shape}"]
    bad = np.argwhere(~close(a, b, scale, tolerance))
    return [f"{name}{bad[0].tolist()}: {a[tuple(bad[0])]!r} and {b[tuple(bad[0])]!r}"] if len(bad) else []


def close(a: Any, b: Any, scale: Any, tolerance: float) -> Any:
    with np.errstate(invalid="ignore"):
        near = np.abs(a - b) <= tolerance * np.maximum(np.maximum(np.abs(a), np.abs(b)), scale)
    return near | (a == b) | (np.isnan(a) & np.isnan(b))


def with_rules(one: Prepared, **rules: Any) -> Prepared:
    return replace(one, **rules)


def wallet_of(run: Run, equity: float) -> list[float]:
    """The wallet after each ledger row, summed in order."""
    total, made_ = equity, []
    for amount in run.ledger["amount"].tolist():
        total += amount
        made_.append(total)
    return made_


def paid(run: Run, *kinds: Cash) -> float:
    return float(run.ledger["amount"][np.isin(run.ledger["kind"], kinds)].sum())
