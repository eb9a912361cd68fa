"""Every signal by name: what it needs of a market, its usual look-back and unit, and how to compute it.

    compute("oi_build", market)                            # (n,) for one symbol, (n, k) for k
    compute("oi_build", market, window="14d")              # lengths are durations, or bars
    compute("oi_to_market_cap", market, market_cap=caps)   # what no market holds is given
    all_features(market)                                   # every fast signal whose data the market holds
    missing("absorption_down", market)                     # the tables to fetch for it

The functions themselves take arrays and bars: `strategies.signals.buildup.oi_build(open_interest, window)`.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from data import clock
from data.errors import BadInput, NotFound, did_you_mean
from strategies.signals import (
    breakers,
    buildup,
    flow,
    fragility,
    funding,
    garch,
    hazard,
    phase,
    skew,
    unexpected,
    venues,
    volatility,
)
from strategies.signals.edge import Array, numbers
from strategies.signals.inputs import STAND_INS, Inputs, fields_of, table_of

if TYPE_CHECKING:
    from data.market import Market

WINDOW, FADING, STATE = "window", "fading", "state"


@dataclass(frozen=True)
class Signal:
    """One signal. `spans`: the lengths it takes, by parameter, as durations; `given`: what no market holds."""

    name: str
    function: Callable[..., Any]
    inputs: tuple[str, ...]
    spans: Mapping[str, str] = field(default_factory=dict)
    unit: str = "ratio"
    given: tuple[str, ...] = ()
    reach: Mapping[str, int] = field(default_factory=dict)  # a length counts so many times in the look-back
    fewest: int = 1  # bars of the usual `window`, however long bars are: a deviation of less is noise
    memory: str = WINDOW  # what it depends on: a window of bars, all of the past but ever less of it, or a state
    fitted: bool = False  # a model is fitted on the way: slow
    a_year: bool = False  # of one bar as computed, given as of a year

    @property
    def family(self) -> str:
        return self.function.__module__.rpartition(".")[2]

    @property
    def needs(self) -> tuple[str, ...]:
        """Fields of a market."""
        return tuple(dict.fromkeys(f for name in self.inputs if name not in self.given for f in fields_of(name)))

    @property
    def options(self) -> tuple[str, ...]:
        """What the function takes besides its inputs and lengths, such as `floor`."""
        taken = list(inspect.signature(self.function).parameters)[len(self.inputs) :]
        return tuple(name for name in taken if name not in self.spans)

    @property
    def summary(self) -> str:
        """First line of the docstring."""
        return (self.function.__doc__ or "").strip().partition("\n")[0]

    def history(self, market: Market) -> int:
        """After how many bars a value no longer depends on where the series began, unless `memory` says it does.

        Settlements are counted with one more interval of at most 8 hours.
        """
        total = 2 + (_bars_of(market, "8h") if "hours" in self.spans else 0)
        for name, span in self.spans.items():
            total += self.reach.get(name, 1) * _bars_of(market, span, self.fewest if name == "window" else 1)
        return total

    def lengths(self, market: Market, options: Mapping[str, Any]) -> dict[str, Any]:
        """The spans in bars (a parameter called hours: in hours). A usual one may be longer on long bars."""
        made: dict[str, Any] = {}
        for name, usual in self.spans.items():
            asked = options.get(name, usual)
            if name == "hours":
                made[name] = clock.duration(asked) / clock.HOUR if isinstance(asked, str) else float(asked)
            elif isinstance(asked, str):
                fewest = self.fewest if name == "window" else 1
                made[name] = market.bars(asked) if name in options else _bars_of(market, asked, fewest)
            else:
                made[name] = asked
        return made


def _bars_of(market: Market, usual: str, fewest: int = 1) -> int:
    """A usual length on bars of any size, rounded up."""
    return max(-(-clock.duration(usual) // market.interval), fewest)


_OHLC = ("open", "high", "low", "close")
_LIQ = ("liq_long", "liq_short")
_OI, _OI_VALUE = ("open_interest",), "open_interest_value"
_MONTH, _WEEK, _DAY, _HOUR, _QUARTER = "30d", "7d", "1d", "1h", "15m"
_SD, _PER_YEAR, _FEW = "standard deviations", "log a year", 20
_AHEAD = {"window": _MONTH, "step": _HOUR}

_ALL = (
    # build-up
    Signal("oi_build", buildup.oi_build, ("open_interest",), {"window": _MONTH}),
    Signal("oi_change", buildup.oi_change, ("open_interest",), {"step": _HOUR}, "log"),
    Signal("oi_flush", buildup.oi_flush, ("open_interest",), {"window": _DAY}, "fraction"),
    Signal(
        "oi_to_volume", buildup.oi_to_volume, ("open_interest_value", "quote_volume"),
        {"window": _MONTH, "day": _DAY}, "days",
    ),
    Signal("oi_to_market_cap", buildup.oi_to_market_cap, ("open_interest_value", "market_cap"), given=("market_cap",)),
    Signal("estimated_leverage", buildup.estimated_leverage, ("open_interest", "reserve"), given=("reserve",)),
    Signal("oi_price_quadrant", buildup.oi_price_quadrant, ("close", "open_interest"), {"step": "4h"}, "code"),
    Signal("expected_oi", unexpected.expected_oi, _OI, _AHEAD, "log", reach={"step": 4}),
    Signal("unexpected_oi", unexpected.unexpected_oi, _OI, _AHEAD, "log", reach={"step": 4}),
    Signal("unexpected_oi_z", unexpected.unexpected_oi_z, _OI, _AHEAD, _SD, reach={"window": 2, "step": 4}),
    Signal(
        "leverage_phase", phase.leverage_phase, ("open_interest",),
        {"window": _MONTH, "flush": _DAY, "rest": _DAY}, "code", memory=STATE,
    ),
    # skew
    Signal("funding_z", funding.funding_z, ("settled", "ends"), {"hours": _MONTH}, _SD),
    Signal("cumulative_funding", funding.cumulative_funding, ("settled", "ends"), {"hours": _WEEK}, "fraction"),
    Signal("expected_funding", funding.expected_funding, ("premium",), {"window": "8h"}, "fraction per 8 hours"),
    Signal("premium_mean", skew.premium_mean, ("premium",), {"window": "8h"}, "fraction"),
    Signal("premium_z", skew.premium_z, ("premium",), {"window": _WEEK}, _SD),
    Signal("basis", skew.basis, ("close", "index"), unit="fraction"),
    Signal("basis_mean", skew.basis_mean, ("close", "index"), {"window": _HOUR}, "fraction"),
    Signal("ratio_skew", skew.ratio_skew, ("ratio_accounts",), unit="log"),
    Signal("ratio_z", skew.ratio_z, ("ratio_accounts",), {"window": _MONTH}, _SD),
    Signal("top_ratio_skew", skew.ratio_skew, ("ratio_top_positions",), unit="log"),
    Signal("crowd_against_top", skew.crowd_against_top, ("ratio_accounts", "ratio_top_positions"), unit="log"),
    Signal("taker_imbalance", skew.taker_imbalance, ("taker_buy_volume", "volume"), {"window": _HOUR}, "fraction"),
    Signal("taker_ratio_skew", skew.taker_ratio_skew, ("taker_ratio",), {"window": _HOUR}, "log"),
    Signal("venue_total", venues.venue_total, ("venue_oi",), unit="of its input", given=("venue_oi",), memory=STATE),
    Signal("venue_mean", venues.venue_mean, ("values", "venue_oi"), unit="of its input", given=("values", "venue_oi")),
    Signal(
        "venue_disagreement", venues.venue_disagreement, ("values", "venue_oi"),
        unit="of its input", given=("values", "venue_oi"),
    ),
    Signal("venue_share", venues.venue_share, ("values", "venue_oi"), unit="fraction", given=("values", "venue_oi")),
    # flow
    Signal(
        "liquidation_intensity", flow.liquidation_intensity, (*_LIQ, "open_interest_value"),
        {"window": _HOUR}, "fraction",
    ),
    Signal("liquidation_imbalance", flow.liquidation_imbalance, _LIQ, {"window": _HOUR}, "fraction"),
    Signal("forced_share", flow.forced_share, (*_LIQ, "quote_volume"), {"window": _HOUR}, "fraction"),
    Signal("liquidation_surge", flow.liquidation_surge, _LIQ, {"fast": _QUARTER, "slow": _WEEK}),
    Signal("sigma_move", flow.sigma_move, ("close",), {"horizon": _QUARTER, "window": _DAY}, _SD, fewest=_FEW),
    Signal(
        "cascade", flow.cascade, ("close", *_OI),
        {"horizon": _QUARTER, "window": _DAY, "late": "5m"}, "fraction", fewest=_FEW,
    ),
    Signal("exhaustion", flow.exhaustion, _LIQ, {"fast": "5m", "slow": _HOUR}, "fraction"),
    Signal(
        "hawkes_intensity", flow.hawkes_intensity, ("events", "mu", "branching", "half_life"),
        unit="events a bar", given=("events", "mu", "branching", "half_life"), memory=FADING,
    ),
    Signal(
        "liquidation_excitation", flow.liquidation_excitation, _LIQ,
        {"window": _WEEK, "half_life": "30m"}, memory=FADING,
    ),
    Signal(
        "vwap_distance", flow.vwap_distance, ("close", "quote_volume", "traded_coins"), {"window": _DAY}, "fraction",
    ),
    Signal("stop_run", flow.stop_run, ("high", "low", "close"), {"window": _DAY}, "fraction"),
    # fragility
    Signal("fragility_down", fragility.fragility, ("near_long_2%", _OI_VALUE), unit="fraction", memory=STATE),
    Signal("fragility_up", fragility.fragility, ("near_short_2%", _OI_VALUE), unit="fraction", memory=STATE),
    Signal("absorption_down", fragility.absorption, ("near_long_1%", "bid_depth_1pct"), memory=STATE),
    Signal("absorption_up", fragility.absorption, ("near_short_1%", "ask_depth_1pct"), memory=STATE),
    Signal("ladder_swept", fragility.ladder_swept, ("met_long", "met_short", _OI_VALUE), unit="fraction", memory=STATE),
    Signal("ladder_pull", fragility.ladder_pull, ("near_long", "near_short"), unit="fraction", memory=STATE),
    # volatility
    Signal(
        "close_to_close", volatility.close_to_close, ("close",), {"window": _DAY}, _PER_YEAR, fewest=_FEW, a_year=True
    ),
    Signal("parkinson", volatility.parkinson, ("high", "low"), {"window": _DAY}, _PER_YEAR, fewest=_FEW, a_year=True),
    Signal("garman_klass", volatility.garman_klass, _OHLC, {"window": _DAY}, _PER_YEAR, fewest=_FEW, a_year=True),
    Signal("rogers_satchell", volatility.rogers_satchell, _OHLC, {"window": _DAY}, _PER_YEAR, fewest=_FEW, a_year=True),
    Signal("yang_zhang", volatility.yang_zhang, _OHLC, {"window": _DAY}, _PER_YEAR, fewest=_FEW, a_year=True),
    Signal("volatility_ratio", volatility.volatility_ratio, _OHLC, {"fast": _HOUR, "slow": _WEEK}),
    Signal(
        "volatility_breaker", breakers.volatility_breaker, _OHLC,
        {"fast": _HOUR, "slow": _WEEK, "hold": _HOUR}, "code", memory=STATE,
    ),
    # with a fit
    Signal(
        "cascade_probability", hazard.cascade_probability, ("close", *_OI),
        {"window": _MONTH, "horizon": _QUARTER, "ahead": _DAY, "every": _MONTH}, "probability",
        fewest=_FEW, memory=STATE, fitted=True,
    ),
    Signal(
        "garch_volatility", garch.garch_volatility, ("close",),
        {"window": "90d", "every": _WEEK}, _PER_YEAR, memory=STATE, fitted=True, a_year=True,
    ),
)  # fmt: skip

SIGNALS: Mapping[str, Signal] = MappingProxyType({s.name: s for s in _ALL})


def signal(name: str) -> Signal:
    """A signal by its name; an unknown one is an error that names the nearest."""
    if name not in SIGNALS:
        raise NotFound(f"there is no signal {name}: {did_you_mean(name, SIGNALS)}")
    return SIGNALS[name]


def missing(name: str, market: Market) -> list[str]:
    """The tables that a market lacks for a signal."""
    held = set(market.held)
    lacking = [f for f in signal(name).needs if f not in held and not set(STAND_INS.get(f, (f,))) <= held]
    return sorted({table_of(f) for f in lacking})


def compute(name: str, market: Market, **options: Any) -> Array:
    """One signal of every symbol, (n,) or (n, k). Options: lengths, what is given, and the function's own."""
    wanted = signal(name)
    if lacking := missing(name, market):
        raise BadInput(f"{name} needs what this market does not hold: fetch {', '.join(lacking)}")
    view = market.features_view()
    return _computed(wanted, [Inputs(view, j) for j in range(len(view.symbols))], options)


def all_features(market: Market, names: Iterable[str] | None = None) -> dict[str, Array]:
    """The signals that need no fit and nothing given, and whose data the market holds; or those named."""
    view = market.features_view()
    if names is None:
        names = [s.name for s in _ALL if not s.fitted and not s.given and not missing(s.name, view)]
    symbols = [Inputs(view, j) for j in range(len(view.symbols))]
    return {name: _computed(signal(name), symbols, {}) for name in names}


def _computed(wanted: Signal, symbols: list[Inputs], options: Mapping[str, Any]) -> Array:
    market = symbols[0].market
    if absent := [name for name in wanted.given if name not in options]:
        raise BadInput(f"{wanted.name} needs {', '.join(absent)}, which no market holds: give them by name")
    more = {k: v for k, v in options.items() if k not in wanted.spans and k not in wanted.given}
    if unknown := [name for name in more if name not in wanted.options]:
        choice = did_you_mean(unknown[0], [*wanted.spans, *wanted.given, *wanted.options])
        raise BadInput(f"{wanted.name} has no option {unknown[0]}: {choice}")
    more |= wanted.lengths(market, options)
    if all(name in wanted.given for name in wanted.inputs):
        return np.asarray(wanted.function(*(options[name] for name in wanted.inputs), **more))
    columns = [wanted.function(*_arguments(wanted, one, options, len(symbols)), **more) for one in symbols]
    made: Array = columns[0] if len(columns) == 1 else np.stack(columns, axis=1)
    return volatility.annual(made, market.interval / clock.HOUR) if wanted.a_year else made


def _arguments(wanted: Signal, one: Inputs, options: Mapping[str, Any], count: int) -> list[Any]:
    def of_symbol(name: str) -> Array:
        array = numbers(options[name], f"{wanted.name}: {name}")
        if array.ndim == 2 and array.shape[1] != count:
            raise BadInput(
                f"{wanted.name}: {name} has {array.shape[1]} columns: give one, or one for each of {count} symbols"
            )
        return array[:, one.symbol] if array.ndim == 2 else array

    return [of_symbol(name) if name in wanted.given else one[name] for name in wanted.inputs]
