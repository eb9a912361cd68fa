"""What a report knows beyond the run itself: intervals, the same run under worse terms, random entries, trials.

    found = gather(result, market, strategy, history=history, **terms)   # simulates a dozen times: seconds
    found.save(folder); Evidence.load(folder)

It is reckoned once, before the page is made, and can be kept beside the result. What is not given is not asked, and
the page says "not asked", never "passed". Nothing here is noted in a register of trials: nobody chooses among it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from backtest.inference.bootstrap import Interval
from backtest.inference.montecarlo import Ruin
from backtest.inference.robust import RandomEntry, Rerun
from backtest.inference.summary import Line, Verdict
from backtest.putting import put
from backtest.trials import Count
from data.errors import NotThisFormat

if TYPE_CHECKING:
    from backtest.inference.comparison import Superior
    from backtest.inference.overfitting import Overfitting
    from backtest.result import Result
    from backtest.strategy import Strategy
    from backtest.sweep import Sweep
    from backtest.walkforward import WalkForward
    from data.market import Market

FILE = "evidence.json"
FORMAT = 1
SIZES = (3.0, 10.0, 30.0, 100.0)  # times the account's equity
LEVERAGES = (0.5, 1.0, 2.0, 3.0, 5.0)
FEWEST_DAYS = 10  # for paths of other days
KEPT = ("total_return", "sharpe", "max_drawdown", "trades", "slippage", "fees", "funding", "liquidations", "ruined")


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """`leaks`: features that changed when the future was cut off, with the first bar; None: not looked."""

    verdict: Verdict | None = None
    intervals: Mapping[str, Interval] = field(default_factory=dict)
    reruns: tuple[Rerun, ...] = ()
    sizes: tuple[Rerun, ...] = ()
    random: RandomEntry | None = None
    ruin: tuple[Ruin, ...] = ()
    trials: Count | None = None
    leaks: tuple[tuple[str, int], ...] | None = None
    seed: int = 0
    of: str = ""  # fingerprint of the result

    def as_plain(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "of": self.of,
            "seed": self.seed,
            "verdict": asdict(self.verdict) if self.verdict else None,
            "intervals": {name: asdict(one) for name, one in self.intervals.items()},
            "reruns": [_rerun(one) for one in self.reruns],
            "sizes": [_rerun(one) for one in self.sizes],
            "random": {**_without(self.random, "random"), "random": self.random.random.tolist()}
            if self.random
            else None,
            "ruin": [asdict(one) for one in self.ruin],
            "trials": asdict(self.trials) if self.trials else None,
            "leaks": None if self.leaks is None else [list(leak) for leak in self.leaks],
        }

    def save(self, folder: Path) -> Path:
        """Beside a result, in its folder."""
        return put(folder / FILE, json.dumps(self.as_plain()).encode())  # NaN and Infinity as Python writes them

    @classmethod
    def load(cls, folder: Path) -> Evidence | None:
        """None: there is none."""
        path = folder / FILE
        if not path.is_file():
            return None
        try:
            return _read(json.loads(path.read_text(encoding="utf-8")))
        except (ValueError, KeyError, TypeError) as error:
            raise NotThisFormat(f"{path} cannot be read ({error}): remove it, and it is made again") from None


def gather(
    result: Result,
    market: Market | None = None,
    strategy: Strategy | None = None,
    *,
    sweep: Sweep | None = None,
    draws: int = 200,
    seed: int = 0,
    **terms: Any,
) -> Evidence:
    """All that can be asked of what is given; `terms` as of `simulate` (venue, account, costs, history, detail).

    Without `market` and `strategy` only the run's own days speak. `sweep`: the grid that the parameters were found in.
    """
    from backtest.inference import intervals, verdict

    drawn = intervals(result, seed=seed) if _daily(result) >= 2 else {}
    count = _counted(market)
    reruns: tuple[Rerun, ...] = ()
    sizes: tuple[Rerun, ...] = ()
    random, leaks = None, None
    if market is not None and (strategy is not None or "exposure" in terms):
        from backtest.inference import sensitivity

        reruns = sensitivity(market, strategy, **terms)
        sizes = _at_sizes(market, strategy, terms)
    if market is not None:
        random = _random(result, market, draws, seed, terms)
    if market is not None and strategy is not None:
        leaks = _leaks(strategy, terms.get("history") or market)
    overfitting, superior = _of_grid(sweep)
    said = verdict(
        result,
        _trials(count),
        interval=drawn.get("sharpe"),
        overfitting=overfitting,
        superior=superior,
        reruns=reruns,
        random=random,
    )
    return Evidence(
        verdict=said,
        intervals=drawn,
        reruns=reruns,
        sizes=sizes,
        random=random,
        ruin=_ruin(result, seed),
        trials=count,
        leaks=leaks,
        seed=seed,
        of=result.fingerprint_id,
    )


def gather_forward(forward: WalkForward, *, sweep: Sweep | None = None, draws: int = 200, seed: int = 0) -> Evidence:
    """Of the stitched run of a walk-forward (of an ensemble: its first account)."""
    strategy = forward.strategy
    terms = {**forward.spec.terms, "account": forward.account, "history": forward.history}
    if strategy is None:
        terms.pop("history")
        terms["exposure"] = 0.0
    found = gather(forward.result, forward.out_of_sample, strategy, sweep=sweep, draws=draws, seed=seed, **terms)
    if found.trials is None or found.trials.number < 1:
        found = replace(found, trials=forward.count())
    return found


def _daily(result: Result) -> int:
    from backtest.inference import daily_returns_of

    return len(daily_returns_of(result)[0])


def _counted(market: Market | None) -> Count | None:
    if market is None or not market.register:
        return None
    from backtest.trials import register_of

    count = register_of(market).count(market)
    return count if count.number else None


def _trials(count: Count | None) -> Any:
    from backtest.inference import Trials

    if count is None:
        return None
    variance = count.variance if math.isfinite(count.variance) else 0.0
    return Trials(count.number, variance, min(max(count.effective, 1.0), count.number))


def _at_sizes(market: Market, strategy: Strategy | None, terms: Mapping[str, Any]) -> tuple[Rerun, ...]:
    """The same run with a larger account: its orders move the price more."""
    from backtest.account import Account
    from backtest.engine import simulate

    one = terms.get("account") or Account()
    quiet = market.registered("")
    return tuple(
        Rerun(
            f"equity x{size:g}",
            simulate(
                quiet, strategy, progress=False, **{**terms, "account": replace(one, equity=one.equity * size)}
            ).measures,
        )
        for size in SIZES
    )


def _random(result: Result, market: Market, draws: int, seed: int, terms: Mapping[str, Any]) -> RandomEntry | None:
    from backtest.inference import random_entry, targets_of

    if not len(result.run.fills) or list(result.symbols) != list(market.symbols) or len(result.ts) != len(market):
        return None
    settings = {name: terms[name] for name in ("venue", "account", "costs") if name in terms}
    return random_entry(market, targets_of(result, market), draws=draws, seed=seed, **settings)


def _leaks(strategy: Strategy, market: Market) -> tuple[tuple[str, int], ...]:
    from backtest.features import lookahead

    return tuple((leak.feature, leak.bar) for leak in lookahead(strategy, market))


def _of_grid(sweep: Sweep | None) -> tuple[Overfitting | None, Superior | None]:
    if sweep is None or len(sweep) < 2:
        return None, None
    return sweep.overfitting(), sweep.superior()


def _ruin(result: Result, seed: int) -> tuple[Ruin, ...]:
    from backtest.inference import daily_returns_of, ruin_by_leverage

    returns, worst = daily_returns_of(result)
    if len(returns) < FEWEST_DAYS or not np.any(returns):
        return ()
    return ruin_by_leverage(returns, LEVERAGES, worst=worst, seed=seed)


def _rerun(one: Rerun) -> dict[str, Any]:
    return {"name": one.name, "measures": {name: one.measures[name] for name in KEPT}}


def _without(value: Any, name: str) -> dict[str, Any]:
    return {key: one for key, one in vars(value).items() if key != name}


def _read(found: Mapping[str, Any]) -> Evidence:
    if found["format"] != FORMAT:
        raise ValueError(f"format {found['format']}")
    said, random, trials = found["verdict"], found["random"], found["trials"]
    return Evidence(
        verdict=Verdict(said["convention"], said["days"], tuple(Line(**line) for line in said["lines"]))
        if said
        else None,
        intervals={name: Interval(**one) for name, one in found["intervals"].items()},
        reruns=_reruns(found["reruns"]),
        sizes=_reruns(found["sizes"]),
        random=RandomEntry(**{**random, "random": np.asarray(random["random"], dtype=np.float64)}) if random else None,
        ruin=tuple(Ruin(**one) for one in found["ruin"]),
        trials=Count(**trials) if trials else None,
        leaks=None if found["leaks"] is None else tuple((str(n), int(b)) for n, b in found["leaks"]),
        seed=int(found["seed"]),
        of=str(found["of"]),
    )


def _reruns(rows: Sequence[Mapping[str, Any]]) -> tuple[Rerun, ...]:
    return tuple(Rerun(row["name"], row["measures"]) for row in rows)
