"""The widget: values of sliders in, a drawn walk out. The page is explorer.js; all that is reckoned is reckoned here.

explorer = found.explore()          # the last line of a cell
explorer.set(entry_z=2.5)           # the sliders move along
explorer.strategy, explorer.result  # what they stand on, to go on with
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.explorer.drawn import drawn, line
from backtest.explorer.live import Live, Walk
from backtest.explorer.sliders import sliders_of
from backtest.explorer.tally import Tally
from backtest.plain import joined
from backtest.strategy import Strategy
from data import clock
from data.errors import BadInput, NotFound, UnwindError, did_you_mean

if TYPE_CHECKING:
    from backtest.result import Result
    from backtest.sweep import Sweep

try:
    import anywidget
    import traitlets
except ImportError:
    raise NotFound("explore() needs anywidget: pip install 'unwind[lab]'") from None

HERE = Path(__file__).parent


class Explorer(anywidget.AnyWidget):
    """Sliders on the parameters of a sweep. `values` and `shown` are what this object and its page tell each other."""

    _esm = HERE / "explorer.js"
    _css = HERE / "explorer.css"

    about = traitlets.Dict().tag(sync=True)  # what does not change: the market, the sliders, the best set's equity
    values = traitlets.Dict().tag(sync=True)  # parameter -> value, as the sliders stand
    shown = traitlets.Dict().tag(sync=True)  # the walk of those values, or what is wrong with them

    def __init__(self, sweep: Sweep) -> None:
        self.sweep = sweep
        self._sliders = sliders_of(sweep)
        self._swept = frozenset(sweep.strategies)
        self._live, self._tally = Live(sweep), Tally(sweep)
        best = sweep.strategy()
        self._walk = self._live.walk(best)
        start = {slider.name: best.parameters[slider.name] for slider in self._sliders}
        super().__init__(about=self._about(start), values=start, shown=self._drawn(self._walk, 0.0))
        self.observe(self._moved, "values")

    # ---- what it stands on -----------------------------------------------------------------------

    @property
    def strategy(self) -> Strategy:
        """The set that is drawn."""
        return self._walk.strategy

    @property
    def measures(self) -> Mapping[str, float]:
        """Its measures, by name."""
        return self._walk.measures

    @property
    def result(self) -> Result:
        """Its simulation, with every row and series."""
        from backtest.engine import simulate

        return simulate(self.sweep.market, self.strategy, **self.sweep.terms)

    def set(self, **values: Any) -> None:
        """Move sliders; what does not fit a parameter is refused. Any value may be set, also one outside a slider."""
        one = self._strategy_of(values)
        self.values = {**self.values, **{name: one.parameters[name] for name in values}}

    # ---- moves -----------------------------------------------------------------------------------

    def _strategy_of(self, values: Mapping[str, Any]) -> Strategy:
        names = [slider.name for slider in self._sliders]
        for name in values:
            if name not in names:
                raise BadInput(f"the sweep did not vary {name!r}: {did_you_mean(str(name), names)}")
        return self.sweep.base.replace(**{**self.values, **values})

    def _moved(self, change: Any) -> None:
        """The set under the sliders is walked. What its code raises is said on the page, and the last lines stay."""
        began = time.perf_counter()
        try:
            one = self._strategy_of(change["new"])
            if one != self._walk.strategy or self.shown.get("problem"):
                self._walk = self._live.walk(one)
                self._tally.look(self._walk)
            self.shown = self._drawn(self._walk, time.perf_counter() - began)
        except UnwindError as error:
            self.shown = {**self.shown, "problem": str(error)}
        except Exception as error:  # noqa: BLE001 - a strategy is the user's code, and a notebook hides what callbacks raise
            self.shown = {**self.shown, "problem": f"{type(error).__name__}: {error}"}

    # ---- what the page is told -------------------------------------------------------------------

    def _about(self, start: Mapping[str, Any]) -> dict[str, Any]:
        market, batch = self.sweep.market, self._live.batch
        span = f"{clock.iso(market.start)} to {clock.iso(market.end)} UTC"
        return {
            "name": type(self.sweep.base).__name__,
            "market": f"{joined(market.symbols)}, {batch.terms.venue.name}, {market.interval_label} bars, {span}",
            "sets": len(self.sweep),
            "by": self.sweep.objective,
            "start": batch.prepared.equity,
            "first": market.start // clock.MS,  # milliseconds
            "step": market.interval // clock.MS,
            "bars": len(market),
            "sliders": [slider.plain for slider in self._sliders],
            "best": {"values": dict(start), "equity": line(self._walk.run.series["equity"])},
        }

    def _drawn(self, walk: Walk, seconds: float) -> dict[str, Any]:
        return {
            **drawn(walk),
            "new": walk.strategy not in self._swept,
            "words": self._tally.words(),
            "ms": round(1000.0 * seconds, 1),
            "problem": "",
        }
