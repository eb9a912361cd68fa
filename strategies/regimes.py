"""Regimes: two or three states that a market switches between, as one could have told them at the time.

    made = regimes(market)                              # probability of each state at every close, daily bars
    switching(y, x, window=720, every=168)              # the same, of your own series
    fit_whole(gnp, order=4, switching_variance=False)   # one fit of a whole series, as in papers: not for trading

A Markov-switching regression (Hamilton 1989; statsmodels): in each state, y = constant + slopes x + noise, all of them
the state's own; states come and go with fixed probabilities.

1. After the close of bar `window`, and every `every` bars from then on, fit on the last `window` bars.
2. With those numbers the filter runs over that window and on to the next fit. It uses each bar and those before it.
   Only these *filtered* probabilities leave this module: smoothed ones, which look back from the end, know the future.
3. States are put in the order of their deviation: 0 is the quietest. So a state means the same from fit to fit.

A fit that failed leaves the one before it in force. A column of x that less than half of a fit's window knows is left
out of that fit: funding that began later does not silence what was known before. Missing bars are left out of a fit and
NaN in the result; the state does not move while nothing is known.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from backtest.given import is_whole
from data.errors import BadInput
from strategies.events.rules import bars_of
from strategies.events.series import Series, need
from strategies.signals.edge import Array, Ints, numbers
from strategies.signals.fits import not_installed, refits
from strategies.signals.rolling import log_change

if TYPE_CHECKING:
    from data.market import Market

FEWEST = 60  # known bars for a fit
HALF = 0.5  # of a window has to know a column of x
DIGITS = 4  # of fitted numbers are kept: an optimiser leaves different ones behind them from run to run
SEED = 0  # of the starting points that a fit tries


class RegimeFit(NamedTuple):
    """One fit, after the close of a bar; one element a state, the quietest first. In standard deviations of y and x."""

    bar: int
    rows: int
    stay: Array  # probability of the state a bar later
    constant: Array
    deviation: Array
    converged: bool
    used: tuple[int, ...]  # columns of x


class Regimes(NamedTuple):
    """Probabilities of the states at each bar, filtered: nothing later is in them; and the fits."""

    probability: Array  # (n, states), rows add up to 1; NaN before the first fit, and where y or x is not known
    fits: list[RegimeFit]

    @property
    def state(self) -> Array:
        """The most probable state; NaN where none is known."""
        known = ~np.isnan(self.probability.sum(axis=1))
        return np.where(known, np.argmax(np.where(known[:, None], self.probability, 0.0), axis=1), np.nan)


@dataclass(frozen=True)
class Switch:
    """How many states, what is fitted on how much of the past, and how often. Lengths are durations."""

    states: int = 2
    window: str = "180d"
    every: str = "30d"
    starts: int = 5  # random starting points, besides the usual one

    def __post_init__(self) -> None:
        _check_states(self.states)


def regimes(market: Market, how: Switch | None = None) -> Regimes:
    """Of one symbol: its return explained by the change of open interest and by funding, in each state anew.

    y is the log change of the close over a bar, x the log change of open interest over it and the last rate settled,
    per 8 hours; what is hardly known is left out. Best on bars of 4 hours or a day: `market.resample("1d")`.
    """
    how = how or Switch()
    need(market, "regimes", ("close",))
    if len(market.symbols) > 1:
        raise BadInput(f"regimes are of one symbol: write market[{market.symbols[0]!r}]")
    view = market.features_view()
    one = Series(view, view.symbols[0])
    y = np.asarray(log_change(one["close"], 1))
    x = np.column_stack((log_change(one.held, 1), one["funding_8h"]))
    return switching(y, x, bars_of(market, how.window), bars_of(market, how.every), how.states, how.starts)


def switching(y: Any, x: Any = None, window: int = 180, every: int = 30, states: int = 2, starts: int = 5) -> Regimes:
    """Filtered probabilities of the states of y, a series, given x, (n,) or (n, m); see the module. Lengths in bars."""
    _check_states(states)
    left = numbers(y, "switching: y")
    right = np.empty((len(left), 0)) if x is None else numbers(x, "switching: x")
    right = right[:, None] if right.ndim == 1 else right
    if left.ndim != 1 or len(right) != len(left):
        raise BadInput("switching: y is one number a bar, x one or more columns of as many")
    if window < FEWEST or every < 1:
        raise BadInput(f"switching: window={window}, every={every}: a fit needs {FEWEST} bars, and every is 1 or more")
    out, fits = np.full((len(left), states), np.nan), list[RegimeFit]()
    last: _Fitted | None = None
    for bar, stop in refits(len(left), window, every):
        begin = bar - window + 1
        used = np.flatnonzero(np.isfinite(right[begin : bar + 1]).mean(axis=0) >= HALF)
        rows = _known(left, right, used, begin, bar + 1)
        made = _fitted(left[rows], right[rows][:, used], states, starts)
        if made is not None:
            last = made._replace(used=tuple(int(j) for j in used))
            fits.append(RegimeFit(bar, len(rows), made.stay, made.constant, made.deviation, made.converged, last.used))
        if last is None:
            continue
        ahead = _known(left, right, last.used, begin, stop)
        if not len(ahead):
            continue
        found = last.filtered(left[ahead], right[ahead][:, last.used])
        speaks = ahead >= bar
        out[ahead[speaks]] = found[speaks]
    return Regimes(out, fits)


def _known(y: Array, x: Array, used: Any, begin: int, stop: int) -> Ints:
    """Bars of [begin, stop) with y and these columns of x."""
    there = np.isfinite(y[begin:stop]) & np.isfinite(x[begin:stop][:, used]).all(axis=1)
    return np.asarray(np.flatnonzero(there) + begin)


def fit_whole(y: Any, states: int = 2, order: int = 0, switching_variance: bool = True) -> Any:
    """One fit of a whole series by statsmodels, with `order` lags that all states share; returns its results.

    To repeat what papers report. It has seen all of the series: its probabilities are not for trading.
    """
    _check_states(states)
    auto, plain = _models()
    series = numbers(y, "fit_whole: y")
    if order:
        model = auto(series, k_regimes=states, order=order, switching_ar=False, switching_variance=switching_variance)
    else:
        model = plain(series, k_regimes=states, switching_variance=switching_variance)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.fit(disp=False)


class _Fitted(NamedTuple):
    """Numbers of a fit, of y and x in the deviations of its own window."""

    params: Array
    order: Any  # of statsmodels' states, the quietest first
    centre: tuple[Array, Array]
    scale: tuple[Array, Array]
    stay: Array
    constant: Array
    deviation: Array
    states: int
    converged: bool
    used: tuple[int, ...] = ()

    def filtered(self, y: Array, x: Array) -> Array:
        made = _model(_standard(y, x, self.centre, self.scale), self.states)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = made.filter(self.params).filtered_marginal_probabilities
        return np.asarray(found, dtype=np.float64)[:, self.order]


def _fitted(y: Array, x: Array, states: int, starts: int) -> _Fitted | None:
    """None where nothing can be fitted."""
    if len(y) < FEWEST or not y.std() > 0.0:
        return None
    both = np.column_stack((y, x))
    middle, spread = both.mean(axis=0), both.std(axis=0)
    spread = np.where(spread > 0.0, spread, 1.0)
    centre, scale = (middle[:1], middle[1:]), (spread[:1], spread[1:])
    model = _model(_standard(y, x, centre, scale), states)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            made = model.fit(disp=False, search_reps=starts, search_iter=5, gtol=1e-9, maxiter=200, rng=SEED)
        names = list(made.model.param_names)
        params = _kept(made.params, names)
        stay = np.diagonal(np.asarray(made.regime_transition)[:, :, 0])
    except (np.linalg.LinAlgError, ValueError, FloatingPointError, RuntimeError):  # Runtime: no steady state
        return None
    deviation = np.sqrt([params[names.index(f"sigma2[{k}]")] for k in range(states)])
    constant = np.array([params[names.index(f"const[{k}]")] for k in range(states)])
    if not (np.isfinite(params).all() and np.isfinite(stay).all()):
        return None
    order = np.argsort(deviation, kind="stable")
    converged = bool(made.mle_retvals.get("converged", True))
    return _Fitted(params, order, centre, scale, stay[order], constant[order], deviation[order], states, converged)


def _kept(params: Any, names: list[str]) -> Array:
    """Rounded; no state is for ever, since the filter then has nowhere to begin, and none stands perfectly still."""
    found = np.asarray(np.round(params, DIGITS), dtype=np.float64)
    least = 10.0**-DIGITS
    chances, variances = (np.array([name.startswith(kind) for name in names]) for kind in ("p[", "sigma2"))
    found = np.where(chances, np.clip(found, least, 1.0 - least), found)
    return np.where(variances, np.maximum(found, least), found)


def _standard(
    y: Array, x: Array, centre: tuple[Array, Array], scale: tuple[Array, Array]
) -> tuple[Array, Array | None]:
    right = np.asarray((x - centre[1]) / scale[1])
    return np.asarray((y - centre[0]) / scale[0]), right if right.shape[1] else None


def _model(given: tuple[Array, Array | None], states: int) -> Any:
    _, plain = _models()
    return plain(given[0], k_regimes=states, exog=given[1], switching_variance=True)


def _models() -> tuple[Any, Any]:
    try:
        from statsmodels.tsa.regime_switching.markov_autoregression import MarkovAutoregression
        from statsmodels.tsa.regime_switching.markov_regression import MarkovRegression
    except ImportError as error:
        raise not_installed("statsmodels") from error
    return MarkovAutoregression, MarkovRegression


def _check_states(states: Any) -> None:
    if not (is_whole(states) and 2 <= states <= 4):
        raise BadInput(f"states={states!r}: write 2, 3 or 4")
