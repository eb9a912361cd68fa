# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # 3 · Your own strategy in a cell
#
# From a sentence to something that can be argued with: write the idea down, see that it does not look ahead, run it,
# look at every trade, and take its costs apart.
#
# The market is simulated (ninety days of 20,000 traders, see [notebook 2](02_anatomy_of_a_leverage_cycle.ipynb)).
# Nothing in it ever happened, and its seed was picked because large cascades happen in it: a profit here says nothing.

# %%
import numpy as np
import pandas as pd
import plotly.graph_objects as go

from backtest import HOLD, Account, Strategy, inference, simulate
from backtest.crowd.as_market import market_of
from backtest.crowd.machine import Machine
from backtest.crowd.world import World
from backtest.features import lookahead
from backtest.report import look
from data.errors import BadInput

look.use()
pd.options.display.float_format = "{:,.2f}".format

world = World()
market = market_of(Machine(world, seed=1).run(days=90), world).resample("5m")
market

# %% [markdown]
# ## The sentence
#
# > When a fast fall throws leverage out, the sellers did not choose to sell. Buy when it is over, and leave soon.
#
# Three things have to become numbers: *fast* (the move of an hour against the volatility of a week), *throws leverage
# out* (the part of open interest that went), *soon* (hours).
#
# `features` computes arrays of the whole market at once. `decide` is asked at every close, with features, parameters
# and a few facts about the account by their names: here `position` and `bars_held`. `stop_loss` is a name that the
# engine reads itself.


# %%
class FlushFade(Strategy):
    """Buy what was forced out."""

    fall: float = 3.0  # standard deviations of an hour
    flushed: float = 0.03  # part of open interest
    hours: int = 12
    leverage: float = 2.0
    stop_loss: float = 0.06

    warmup = "7d"

    def features(self, market):
        hour = market.bars("1h")
        price = pd.Series(np.log(market.close))
        move = price.diff(hour)
        usual = move.rolling(market.bars("7d")).std().shift(hour)
        held = pd.Series(market.open_interest)
        return {
            "move": move / usual,
            "gone": 1.0 - held / held.rolling(hour).max(),
            "calming": (price.diff() > 0.0).astype(float),  # the last bar rose
            "longest": np.full(len(market), self.hours * hour, dtype=float),
        }

    @staticmethod
    def decide(position, bars_held, move, gone, calming, longest, fall, flushed, leverage):
        if position != 0.0:
            return 0.0 if bars_held >= longest else HOLD
        if move < -fall and gone > flushed and calming > 0.0:
            return leverage
        return HOLD


# %% [markdown]
# `decide` is a plain function, so try it:

# %%
bar = {"move": -4.0, "gone": 0.05, "longest": 144.0, "fall": 3.0, "flushed": 0.03, "leverage": 2.0}
for when, position, held, calming in (
    ("flat, and the fall is over", 0.0, 0, 1.0),
    ("flat, and still falling", 0.0, 0, 0.0),
    ("in for twelve hours", 1.0, 144, 1.0),
):
    target = FlushFade.decide(position=position, bars_held=held, calming=calming, **bar)
    print(f"{when}: {'HOLD' if target == HOLD else target}")

# %% [markdown]
# A slip is refused where it is made, in a line:

# %%
try:
    FlushFade(levrage=3.0)
except BadInput as error:
    print(error)

# %% [markdown]
# ## Does it look ahead?
#
# The most expensive mistake there is, and easy to make: one centred window is enough. `lookahead` cuts the future off
# in several places and compares. What changes has seen it.


# %%
class Peeking(FlushFade):
    def features(self, market):
        mine = super().features(market)
        hour = market.bars("1h")
        mine["gone"] = mine["gone"].rolling(hour, center=True).max()  # half an hour of tomorrow's news
        return mine


print("FlushFade:", lookahead(FlushFade(), market) or "nothing that looks ahead")
print("Peeking:  ", lookahead(Peeking(), market)[:2])

# %% [markdown]
# ## The run

# %%
account = Account(equity=100_000)
result = simulate(market, FlushFade(), venue="sim", account=account)
result

# %%
trades = result.trades
trades[["ts", "entry_price", "exit_price", "profit", "fees", "funding", "hours", "why"]]

# %% [markdown]
# See each of them where it happened. A trade that you cannot explain is a mistake that you have not found yet.

# %%
shown = market.resample("1h")
figure = go.Figure()
figure.add_scatter(
    x=shown.ts.astype("datetime64[ns]"), y=shown.close, name="price", line={"color": look.INK, "width": 1}
)
for row in trades.itertuples():
    color = look.GREEN if row.profit > 0 else look.RED
    figure.add_scatter(
        x=[row.ts, row.closed], y=[row.entry_price, row.exit_price], mode="lines+markers", showlegend=False,
        line={"color": color, "width": 2}, marker={"size": 8, "symbol": ["triangle-up", "x"]},
        hovertext=f"{row.profit:+,.0f} {row.why}",
    )  # fmt: skip
figure.update_layout(title="Entries and exits", height=380)
figure

# %%
result.plot()

# %% [markdown]
# ## What it cost
#
# Where the money came from and where it went. Slippage is inside the prices of the fills, so it is a part of the profit
# and not a row of the ledger; it is shown on its own here.

# %%
m = result.metrics
parts = {
    "price, before slippage": m["fees"] - m["funding"] + m["slippage"] + (result.equity.iloc[-1] - account.equity),
    "slippage": -m["slippage"],
    "fees": -m["fees"],
    "funding": m["funding"],
}
total = sum(parts.values())
assert abs(total - (result.equity.iloc[-1] - account.equity)) < 1e-6
figure = go.Figure(
    go.Waterfall(
        x=[*parts, "net"], y=[*parts.values(), 0.0], measure=["relative"] * 4 + ["total"],
        text=[f"{value:+,.0f}" for value in (*parts.values(), total)],
        increasing_marker_color=look.GREEN, decreasing_marker_color=look.RED, totals_marker_color=look.BLUE,
        connector_line_color=look.GRID,
    )
)  # fmt: skip
figure.update_layout(title="USDT, of 100,000", height=360, hovermode=False)
figure

# %% [markdown]
# ## How much of it would survive?
#
# Orders come late, costs are worse than a model says, size moves the price. The same run under worse terms:

# %%
reruns = inference.sensitivity(market, FlushFade(), venue="sim", account=account)
rows = {one.name: (100 * one.total_return, one.sharpe, one.measures["trades"]) for one in reruns}
for size in (1e6, 1e7, 1e8):
    large = simulate(market, FlushFade(), venue="sim", account=Account(equity=size))
    rows[f"with {size / 1e6:,.0f} million"] = (
        100 * large.measures["total_return"],
        *large.metrics[["sharpe", "trades"]],
    )
pd.DataFrame(rows, index=["total return, %", "Sharpe ratio", "trades"]).T

# %% [markdown]
# What is good with a hundred thousand is nothing with a million, and ruinous beyond: the book is thinnest just when
# this idea wants to buy. The largest account trades nothing at all, as the venue's brackets do not allow so much
# leverage on so large a position: `result.refused` says so.
#
# And luck: the same number of trades, held as long and sized alike, entered at random times.

# %%
luck = inference.random_entry(market, inference.targets_of(result, market), draws=200, venue="sim", account=account)
figure = go.Figure()
figure.add_histogram(x=luck.random, name="random entries", marker_color=look.INK, opacity=0.6, nbinsx=40)
figure.add_vline(x=luck.value, line={"color": look.BLUE, "width": 3}, annotation_text=" this run")
figure.update_layout(title=f"Sharpe ratio: as good by luck in {luck.p:.0%} of draws", height=320)
figure

# %% [markdown]
# **What to make of it.** A handful of trades say next to nothing, whatever they earned. Change a number above and run
# the cells again, and you have made another trial: the best of many looks good by luck alone. The
# [next notebook](04_sweep_and_walk_forward.ipynb) is about that.
#
# To keep an idea, put the class into a file: `unwind run ideas.py:FlushFade` runs it, `unwind check lookahead
# ideas.py:FlushFade` checks it, and `unwind new strategy MyIdea` writes one to start from, with its tests.
