"""How much of a result is luck: arrays in, numbers or small frozen objects out.

    sharpe        moments of returns, standard error of a Sharpe ratio, PSR, MinTRL, power ("2012" or "2025")
    deflated      the best of many trials: expected maximum, DSR, MinBTL, effective number of trials
    multiple      adjusted p-values, the Harvey-Liu haircut, false discovery rates, Lo's factor for a year
    overfitting   PBO by combinatorially symmetric cross-validation
    bootstrap     optimal blocks, intervals of every headline measure
    comparison    Hansen's SPA and White's reality check
    montecarlo    other orders of the same trades, other paths of the same days, ruin at each leverage
    robust        the same run at higher costs and a bar later; random entries with the same holding times
    summary       all of it in one table: what was tested, the number, pass, fail or unknown

What arch, statsmodels and scipy do is asked of them, when it is asked for; without them one line says what to install.
`docs/statistics.md` has the formulas, their sources, and how the estimates behave on data whose truth is known.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # the same names, for type checkers and editors
    from backtest.inference.bootstrap import BlockLengths as BlockLengths
    from backtest.inference.bootstrap import Interval as Interval
    from backtest.inference.bootstrap import block_lengths as block_lengths
    from backtest.inference.bootstrap import bootstrap_interval as bootstrap_interval
    from backtest.inference.bootstrap import daily_rows as daily_rows
    from backtest.inference.bootstrap import interval_of_sharpe as interval_of_sharpe
    from backtest.inference.bootstrap import intervals as intervals
    from backtest.inference.comparison import Superior as Superior
    from backtest.inference.comparison import superior as superior
    from backtest.inference.deflated import Trials as Trials
    from backtest.inference.deflated import dsr as dsr
    from backtest.inference.deflated import effective_number as effective_number
    from backtest.inference.deflated import exact_maximum as exact_maximum
    from backtest.inference.deflated import expected_maximum as expected_maximum
    from backtest.inference.deflated import min_backtest_length as min_backtest_length
    from backtest.inference.deflated import min_backtest_length_bound as min_backtest_length_bound
    from backtest.inference.deflated import trials_of as trials_of
    from backtest.inference.montecarlo import Draws as Draws
    from backtest.inference.montecarlo import Ruin as Ruin
    from backtest.inference.montecarlo import daily_returns_of as daily_returns_of
    from backtest.inference.montecarlo import resampled_paths as resampled_paths
    from backtest.inference.montecarlo import resampled_trades as resampled_trades
    from backtest.inference.montecarlo import ruin_by_leverage as ruin_by_leverage
    from backtest.inference.montecarlo import shuffled_trades as shuffled_trades
    from backtest.inference.montecarlo import trade_returns as trade_returns
    from backtest.inference.multiple import Haircut as Haircut
    from backtest.inference.multiple import adjusted_p_values as adjusted_p_values
    from backtest.inference.multiple import annual_sharpe as annual_sharpe
    from backtest.inference.multiple import autocorrelation_factor as autocorrelation_factor
    from backtest.inference.multiple import haircut_sharpe as haircut_sharpe
    from backtest.inference.multiple import lo_factor as lo_factor
    from backtest.inference.multiple import lo_standard_error as lo_standard_error
    from backtest.inference.multiple import observed_false_discovery as observed_false_discovery
    from backtest.inference.multiple import positive_false_discovery as positive_false_discovery
    from backtest.inference.overfitting import Overfitting as Overfitting
    from backtest.inference.overfitting import halves as halves
    from backtest.inference.overfitting import pbo as pbo
    from backtest.inference.robust import RandomEntry as RandomEntry
    from backtest.inference.robust import Rerun as Rerun
    from backtest.inference.robust import random_entry as random_entry
    from backtest.inference.robust import sensitivity as sensitivity
    from backtest.inference.robust import targets_of as targets_of
    from backtest.inference.sharpe import Moments as Moments
    from backtest.inference.sharpe import critical_sharpe as critical_sharpe
    from backtest.inference.sharpe import min_track_record as min_track_record
    from backtest.inference.sharpe import moments as moments
    from backtest.inference.sharpe import power as power
    from backtest.inference.sharpe import psr as psr
    from backtest.inference.sharpe import sharpe_variance as sharpe_variance
    from backtest.inference.summary import Line as Line
    from backtest.inference.summary import Verdict as Verdict
    from backtest.inference.summary import verdict as verdict

_HOME: dict[str, str] = {
    name: f"backtest.inference.{module}"
    for module, names in {
        "sharpe": "Moments moments sharpe_variance psr critical_sharpe power min_track_record",
        "deflated": "Trials trials_of expected_maximum exact_maximum effective_number dsr min_backtest_length "
        "min_backtest_length_bound",
        "multiple": "adjusted_p_values haircut_sharpe Haircut positive_false_discovery observed_false_discovery "
        "lo_factor lo_standard_error autocorrelation_factor annual_sharpe",
        "overfitting": "pbo Overfitting halves",
        "bootstrap": "block_lengths BlockLengths Interval bootstrap_interval daily_rows intervals interval_of_sharpe",
        "comparison": "superior Superior",
        "montecarlo": "Draws trade_returns shuffled_trades resampled_trades resampled_paths ruin_by_leverage Ruin "
        "daily_returns_of",
        "robust": "sensitivity Rerun random_entry RandomEntry targets_of",
        "summary": "verdict Verdict Line",
    }.items()
    for name in names.split()
}

__all__ = sorted(_HOME)


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})
