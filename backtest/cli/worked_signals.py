"""Worked cases whose functions live in `strategies`: self-exciting processes, regimes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest.verify import load_statistics
from backtest.worked import Case, Underdetermined
from backtest.worked_numbers import Read, number
from backtest.worked_statistics import ANSWER


def _likelihood(case: Case) -> dict[str, Any]:
    """Inputs a and b are those of mu + a sum exp(-b age): the branching ratio is a / b."""
    from strategies.signals.hawkes import likelihood

    read = Read(case)
    beta = read.number("b")
    value = likelihood(
        _times(case), number(case.inputs.get("T"), "T"), read.number("mu"), read.number("a") / beta, beta
    )
    return {ANSWER: float(value[0])}


def _compensator(case: Case) -> dict[str, Any]:
    """From 0 to the first event, where only mu counts, and from each event to the next."""
    from strategies.signals.hawkes import residuals

    read = Read(case)
    beta, mu = read.number("b"), read.number("mu")
    times = _times(case)
    between = residuals(times, mu, read.number("a") / beta, beta)
    return {ANSWER: [mu * float(times[0]), *(float(x) for x in between)]}


def _times(case: Case) -> npt.NDArray[np.float64]:
    times = case.inputs.get("t")
    if not isinstance(times, list) or not times:
        raise Underdetermined("its inputs have no list of times called t")
    return np.array(times, dtype=np.float64)


def _branching(case: Case) -> dict[str, Any]:
    read = Read(case)
    return {ANSWER: read.number("a") / read.number("b")}


def _markov(case: Case) -> dict[str, Any]:
    """Hamilton's model: growth of GNP, two states, four lags; the state of lower growth first."""
    from strategies.regimes import fit_whole

    values = case.inputs.get("values") or _growth_of_gnp()
    found = fit_whole(np.array(values, dtype=np.float64), order=4, switching_variance=False)
    named = dict(zip(found.model.param_names, (float(v) for v in found.params), strict=True))
    stay, back = named["p[0->0]"], named["p[1->0]"]
    low, high = named["const[0]"], named["const[1]"]
    if low > high:
        stay, back, low, high = 1.0 - back, 1.0 - stay, high, low
    lags = [named[f"ar.L{lag}"] for lag in range(1, 5)]
    shown = {"p00": stay, "p10": back, "const0": low, "const1": high, "sigma2": named["sigma2"], "ar": lags}
    return {ANSWER: {"llf": float(found.llf), **shown}}


def _growth_of_gnp() -> Any:
    """Of the packaged case: a case that names the series need not repeat it."""
    own = [one for one in load_statistics() if one.kind == "markov_autoregression"]
    return own[0].inputs["values"]


KINDS: dict[str, Callable[[Case], dict[str, Any]]] = {
    "hawkes_likelihood": _likelihood,
    "hawkes_compensator": _compensator,
    "hawkes_branching": _branching,
    "markov_autoregression": _markov,
}
