"""Regressions for events: errors clustered by day, responses to a shock, who leads whom.

    clustered(y, {"build": build}, days)                   # least squares; a row a variable
    local_projections(response, shock, horizons=24)        # statsmodels, Newey-West errors
    granger(cause, effect, lags=12)                        # do past changes of one help to foretell the other?

Days are what is independent, if anything is: all symbols fall on the same one. Errors that take each symbol or each
hour for an observation have been up to seventeen times too small in published work.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from data.errors import BadInput
from strategies.signals.edge import Array, numbers, whole_bars
from strategies.signals.fits import not_installed

if TYPE_CHECKING:
    import pandas as pd

CONSTANT = "constant"
LEVEL = 0.9


def clustered(y: Any, variables: Mapping[str, Any], days: Any, level: float = LEVEL) -> pd.DataFrame:
    """Least squares of y on the variables and a constant; errors clustered by day, t with (days - 1) degrees.

    Columns b, se, t, p, low, high; `attrs` hold n, days and r2. Rows with anything unknown are left out.
    """
    import pandas as pd

    api = _statsmodels()
    names = [*variables, CONSTANT]
    left = numbers(y, "clustered: y")
    columns = [numbers(x, f"clustered: {name}") for name, x in variables.items()]
    groups = np.unique(np.asarray(days), return_inverse=True)[1]
    if {len(left), len(groups)} != {len(c) for c in columns} | {len(left)}:
        raise BadInput("clustered: y, every variable and days have to be of one length")
    design = np.column_stack([*columns, np.ones(len(left))])
    known = np.isfinite(left) & np.isfinite(design).all(axis=1)
    count, clusters = int(known.sum()), len(np.unique(groups[known]))
    if clusters < 2 or count <= len(names):
        raise BadInput(f"clustered: {count} rows of {clusters} days are too few for {len(names)} coefficients")
    made = api.OLS(left[known], design[known]).fit(cov_type="cluster", cov_kwds={"groups": groups[known]}, use_t=True)
    ends = made.conf_int(alpha=1.0 - level)
    table = pd.DataFrame(
        {"b": made.params, "se": made.bse, "t": made.tvalues, "p": made.pvalues, "low": ends[:, 0], "high": ends[:, 1]},
        index=names,
    )
    table.attrs = {"n": count, "days": clusters, "r2": float(made.rsquared)}
    return table


def local_projections(
    response: Any, shock: Any, horizons: int = 24, lags: int = 2, cumulative: bool = True, level: float = LEVEL
) -> pd.DataFrame:
    """What follows a unit of shock, h bars later, given `lags` past values of both (Jorda 2005; statsmodels).

    `response`: one number a bar, such as log changes of the price; cumulative: its sum from the bar of the shock on.
    The shock is taken as it is: give what was not expected, such as `unexpected_oi`. Both are of one symbol, and the
    longest stretch in which all is known is used. Columns horizon, response, se, low, high; errors after Newey and
    West with at least h lags. `attrs`: n, the bars used.
    """
    import pandas as pd

    y, z = numbers(response, "local_projections: response"), numbers(shock, "local_projections: shock")
    whole_bars(horizons, "local_projections: horizons"), whole_bars(lags, "local_projections: lags")
    if y.shape != z.shape or y.ndim != 1:
        raise BadInput(f"local_projections: response is {y.shape} and shock {z.shape}: give one number a bar, of both")
    first, stop = longest_known(np.isfinite(y) & np.isfinite(z))
    if stop - first < 10 * (lags + horizons):
        raise BadInput(
            f"local_projections: only {stop - first} bars in a row are known; {10 * (lags + horizons)} needed"
        )
    y, z = y[first:stop], z[first:stop]
    try:
        from scipy.stats import norm
        from statsmodels.tsa.api import LocalProjections
    except ImportError as error:
        raise not_installed("statsmodels") from error
    width = norm.ppf(0.5 + 0.5 * level)
    if cumulative:
        responses, errors = _cumulative(LocalProjections, y, z, horizons, lags)
    else:
        made = LocalProjections(np.column_stack((z, y)), shock_idx=0, lags=lags, horizons=horizons).fit()
        responses, errors = made.irfs[:, 1, 0], made.stderr[:, 1, 0]
    table = pd.DataFrame(
        {
            "horizon": np.arange(horizons + 1),
            "response": responses,
            "se": errors,
            "low": responses - width * errors,
            "high": responses + width * errors,
        }
    )
    table.attrs = {"n": stop - first}
    return table


def _cumulative(model: Any, y: Array, z: Array, horizons: int, lags: int) -> tuple[Array, Array]:
    """Responses of the sum of y from the shock's bar on: of its running level, with the changes as controls.

    The level before the shock is a control too, so a regression of the level is one of its change since then.
    """
    before = np.concatenate(([0.0], np.cumsum(y)))[:-1]
    past = [np.concatenate((np.zeros(k), y[:-k])) for k in range(1, lags + 1)]
    past += [np.concatenate((np.zeros(k), z[:-k])) for k in range(1, lags + 1)]
    out = np.empty((2, horizons + 1))
    for h in range(horizons + 1):
        total = np.concatenate((np.cumsum(y)[h:], np.full(h, np.nan))) - before
        rows = slice(lags, len(y) - h)
        pair = np.column_stack((z, total))[rows]
        made = model(pair, shock_idx=0, lags=0, horizons=0, exog=np.column_stack(past)[rows], nw_lags=max(h, 1)).fit()
        out[:, h] = made.irfs[0, 1, 0], made.stderr[0, 1, 0]
    return out[0], out[1]


def granger(cause: Any, effect: Any, lags: int = 12) -> pd.DataFrame:
    """Do past values of `cause` foretell `effect` beyond its own past? An F test for each number of lags up to `lags`.

    Columns lags, f, p. Both have to be stationary: give changes, not levels. Leading is not causing, and one of many
    tests will be below 5 % by luck. The longest stretch in which both are known is used; `attrs`: n.
    """
    import pandas as pd

    x, y = numbers(cause, "granger: cause"), numbers(effect, "granger: effect")
    if x.shape != y.shape or x.ndim != 1:
        raise BadInput(f"granger: cause is {x.shape} and effect {y.shape}: give one number a bar, of both")
    most = whole_bars(lags, "granger: lags")
    first, stop = longest_known(np.isfinite(x) & np.isfinite(y))
    if stop - first < 10 * most:
        raise BadInput(
            f"granger: only {stop - first} bars in a row are known, for {most} lags: take fewer lags, or more bars"
        )
    try:
        from statsmodels.tsa.stattools import grangercausalitytests
    except ImportError as error:
        raise not_installed("statsmodels") from error
    made = grangercausalitytests(np.column_stack((y, x))[first:stop], most)
    tests = [made[k][0]["ssr_ftest"] for k in range(1, most + 1)]
    table = pd.DataFrame({"lags": np.arange(1, most + 1), "f": [t[0] for t in tests], "p": [t[1] for t in tests]})
    table.attrs = {"n": stop - first}
    return table


def longest_known(known: Any) -> tuple[int, int]:
    """[first, stop) of the longest run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], np.asarray(known), [False])).astype(np.int8)))
    if not len(edges):
        return 0, 0
    starts, stops = edges[::2], edges[1::2]
    best = int(np.argmax(stops - starts))
    return int(starts[best]), int(stops[best])


def _statsmodels() -> Any:
    try:
        import statsmodels.api as api
    except ImportError as error:
        raise not_installed("statsmodels") from error
    return api
