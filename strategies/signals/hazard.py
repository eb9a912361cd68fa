"""How probable an event is within the next bars: a logit or hazard model, fitted anew from time to time.

    found = event_probability(np.column_stack(features), happened, ahead=1440, every=43200)
    found.probability, found.fits

1. The label of bar t: did the event happen in (t, t + ahead]? It is known only at t + ahead.
2. After the close of every `every`-th bar, fit on rows whose labels are known by then, every `stride`-th of them (none:
   `ahead`, so that no two labels share a bar). Features are put in standard deviations of the training rows, and cut
   at 5. Coefficients are drawn to 0 by a normal prior, `prior` its deviation: events are few.
3. Until the next fit those coefficients turn the features of each bar into a probability.

`link`: "logit", or "cloglog", the hazard of an event that may come at any moment of the bars ahead. Where a fit has too
few events, the one before it goes on.

`skill` says what the probabilities were worth out of sample. Do not expect much: precursors that hold for all
cascades were not found, and shocks from outside have none.
"""

from __future__ import annotations

import warnings
from typing import Any, NamedTuple

import numpy as np

from data.errors import BadInput
from strategies.signals.buildup import oi_build
from strategies.signals.edge import Array, Bars, columnwise, numbers
from strategies.signals.fits import not_installed, refits
from strategies.signals.flow import cascade
from strategies.signals.rolling import log_change, rolling_max, rolling_std, rolling_sum

FEWEST_EVENTS = 10  # rows of either kind, before a fit
CUT = 5.0  # standard deviations
LINKS = ("logit", "cloglog")


class HazardFit(NamedTuple):
    """One fit, after the close of a bar. Coefficients: the constant, then one a feature, per standard deviation."""

    bar: int
    rows: int
    events: int
    coefficients: Array
    mean: Array
    deviation: Array


class Hazard(NamedTuple):
    """The probability at each bar, and the fits that it came from."""

    probability: Array
    fits: list[HazardFit]


class Skill(NamedTuple):
    """Of probabilities held against what happened, bars without either left out."""

    rows: int
    base_rate: float
    auc: float  # 0.5: no better than chance
    brier_skill: float  # 1 - mean squared error / that of the base rate; below 0: worse than knowing nothing


def event_probability(
    features: Any, happened: Any, ahead: int, every: int, link: str = "logit", stride: int | None = None,
    prior: float = 1.0,
) -> Hazard:  # fmt: skip
    """P(event in the next `ahead` bars) at each close, by features (n, m); see the module.

    `happened`: 1 in a bar with the event, 0 in one without, NaN where it is not known.
    """
    x, events = numbers(features, "event_probability: features"), numbers(happened, "event_probability: happened")
    x = x[:, None] if x.ndim == 1 else x
    if len(x) != len(events) or events.ndim != 1:
        raise BadInput(f"event_probability: features are {x.shape}, happened {events.shape}: give (n, m) and (n,)")
    if link not in LINKS or ahead < 1 or every < 1 or not prior > 0.0:
        raise BadInput(f"event_probability: link is {' or '.join(LINKS)}; ahead, every and prior are above 0")
    label, step = will_happen(events, ahead), stride or ahead
    rows = np.flatnonzero(np.isfinite(x).all(axis=1) & np.isfinite(label))
    rows = rows[rows % step == 0]
    out, fits = np.full(len(x), np.nan), list[HazardFit]()
    for bar, stop in refits(len(x), every - 1, every):
        known = rows[rows <= bar - ahead]
        if (fit := _fitted(x[known], label[known], bar, link, prior)) is not None:
            fits.append(fit)
        if fits:
            out[bar:stop] = _predicted(fits[-1], x[bar:stop], link)
    return Hazard(out, fits)


def will_happen(happened: Array, ahead: int) -> Array:
    """1 where the event comes within the next `ahead` bars, 0 where all of them are known and it does not, else NaN.

    This looks ahead: it is a label and never a feature.
    """
    back = happened[::-1]
    found = np.asarray(rolling_max(back, ahead, known=0.0))[::-1]
    count = np.asarray(rolling_sum(np.isfinite(back), ahead))[::-1]
    label = np.full(len(happened), np.nan)
    inside = len(happened) - ahead
    if inside > 0:
        some, every = found[1 : inside + 1], count[1 : inside + 1] == ahead
        label[:inside] = np.where(some > 0.0, 1.0, np.where(every, 0.0, np.nan))
    return label


@columnwise
def cascade_probability(
    close: Array, open_interest: Array, window: Bars, horizon: Bars, ahead: Bars, every: Bars,
    sigmas: float = 4.0, flush: float = 0.02,
) -> Array:  # fmt: skip
    """Probability of a cascade (`flow.cascade`, either side) within the next `ahead` bars, by a logit model.

    Its features: open interest over its mean, volatility of `ahead` bars over that of `window` (log), and the
    absolute changes of price and of open interest over `ahead` bars. Refitted every `every` bars; use
    `event_probability` for features of your own. Unit: probability. Look-back: all bars before, as training. NaN
    before the first fit, and where a feature is not known. Source: own; logit of a deleveraging within a horizon, as
    in early-warning models.
    """
    moved = np.asarray(log_change(close, 1))
    usual, lately = (np.asarray(rolling_std(moved, w)) for w in (window, ahead))
    features = (
        np.asarray(oi_build(open_interest, window)),
        np.log(np.where((usual > 0.0) & (lately > 0.0), lately / usual, np.nan)),
        np.abs(np.asarray(log_change(close, ahead))),
        np.abs(np.asarray(log_change(open_interest, ahead))),
    )
    found = np.asarray(cascade(close, open_interest, horizon, window, sigmas, flush))
    happened = np.where(np.isnan(found), np.nan, found != 0.0)
    return event_probability(np.column_stack(features), happened, ahead, every).probability


def skill(probability: Any, happened: Any, ahead: int) -> Skill:
    """What probabilities were worth, against what came within `ahead` bars."""
    p = numbers(probability, "skill: probability")
    label = will_happen(numbers(happened, "skill: happened"), ahead)
    both = np.isfinite(p) & np.isfinite(label)
    p, label = p[both], label[both]
    came, rest = int(label.sum()), int((label == 0.0).sum())
    if not came or not rest:
        return Skill(len(p), float(label.mean()) if len(p) else np.nan, np.nan, np.nan)
    _, places, counts = np.unique(p, return_inverse=True, return_counts=True)
    rank = (np.cumsum(counts) - 0.5 * (counts - 1.0))[places]  # ties share their mean rank
    auc = (float(rank[label == 1.0].sum()) - came * (came + 1) / 2.0) / (came * rest)
    base = came / len(p)
    return Skill(len(p), base, auc, 1.0 - float(((p - label) ** 2).mean()) / (base * (1.0 - base)))


def _fitted(x: Array, label: Array, bar: int, link: str, prior: float) -> HazardFit | None:
    """None where the rows say nothing."""
    events = int(label.sum())
    if min(events, len(label) - events) < FEWEST_EVENTS:
        return None
    try:
        from statsmodels.genmod.families import Binomial, links
        from statsmodels.genmod.generalized_linear_model import GLM
    except ImportError as error:
        raise not_installed("statsmodels") from error
    mean, deviation = x.mean(axis=0), x.std(axis=0)
    deviation = np.where(deviation > 0.0, deviation, np.inf)  # what never moves has no part in it
    design = np.column_stack((np.ones(len(x)), _standard(x, mean, deviation)))
    kind = links.Logit() if link == "logit" else links.CLogLog()
    penalty = np.array([0.0] + [1.0 / (prior**2 * len(x))] * x.shape[1])
    share = events / len(label)
    begin = np.zeros(x.shape[1] + 1)
    begin[0] = np.log(share / (1.0 - share)) if link == "logit" else np.log(-np.log1p(-share))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        try:
            model = GLM(label, design, family=Binomial(link=kind))
            made = model.fit_regularized(alpha=penalty, L1_wt=0.0, start_params=begin)
        except (Warning, np.linalg.LinAlgError, ValueError, FloatingPointError):
            return None
    found = np.asarray(made.params, dtype=np.float64)
    if not np.isfinite(found).all():
        return None
    return HazardFit(bar, len(label), events, found, mean, deviation)


def _standard(x: Array, mean: Array, deviation: Array) -> Array:
    return np.clip((x - mean) / deviation, -CUT, CUT)


def _predicted(fit: HazardFit, x: Array, link: str) -> Array:
    with np.errstate(over="ignore"):
        score = fit.coefficients[0] + _standard(x, fit.mean, fit.deviation) @ fit.coefficients[1:]
        return np.asarray(1.0 / (1.0 + np.exp(-score)) if link == "logit" else -np.expm1(-np.exp(score)))
