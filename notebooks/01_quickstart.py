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
# # 1 · Quickstart
#
# Data in, an idea, a run with margin and funding, what happened in it, and a report of it: ten minutes.
#
# The market is made up, so that this runs anywhere. Nothing in it ever happened, and **a profit in it means
# nothing**. With data of your own only the first cell changes ([notebook 7](07_bring_real_data.ipynb)).
#
# The first run of a version compiles the engine, which takes about a minute, once.

# %%
import tempfile
from pathlib import Path

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from backtest import HOLD, Account, Costs, Strategy, simulate
from backtest.hold import hold
from backtest.report import look
from data.ingest import ingest
from data.sources.made_up import made_up
from data.store import Store

look.use()  # figures without a background, for light and dark pages
pd.options.display.float_format = "{:,.2f}".format
folder = tempfile.TemporaryDirectory(prefix="unwind-")
store = Store(Path(folder.name) / "made-up.duckdb")
print(ingest(made_up(), store))

# %% [markdown]
# ## A market
#
# The store is one DuckDB file. Out of it comes a **market**: everything of one symbol on one grid of bars, as numpy
# arrays. What stands in a bar was known by its close; what is missing is NaN and is counted, never filled in.

# %%
market = store.market("ALFAUSDT", "5m")
market

# %%
hourly = market.resample("1h")
when = hourly.ts.astype("datetime64[ns]")

figure = make_subplots(rows=3, shared_xaxes=True, vertical_spacing=0.05, row_heights=[0.46, 0.27, 0.27])
figure.add_scatter(x=when, y=hourly.mark_close, name="mark price", row=1, col=1)
figure.add_scatter(x=when, y=hourly.open_interest, name="open interest", fill="tozeroy", row=2, col=1)
funding = {"name": "funding, bp per 8 h", "line_shape": "hv"}
figure.add_scatter(x=when, y=hourly.funding_8h * 1e4, **funding, row=3, col=1)
figure.update_layout(title="Leverage builds up, gets dear, and goes at once", height=520)
figure

# %% [markdown]
# The whole subject is in this picture. A crowd builds up: open interest rises, and its side pays more and more to
# stay. Then a move forces some of it out, which moves the price further.
#
# ## An idea
#
# When everybody is long, longs pay dearly and are the ones who can be forced out. So: short where funding is unusually
# high against its last days, long where it is unusually low, out when it is ordinary again.
#
# A strategy has **parameters**, **features** (arrays of the whole market at once) and **`decide`**, which is asked at
# every close. It returns a target, a signed multiple of equity, or `HOLD`. It is plain Python, compiled for you.


# %%
class FundingFade(Strategy):
    window: str = "3d"
    entry_z: float = 2.0
    exit_z: float = 0.5
    leverage: float = 3.0
    stop_loss: float = 0.05  # read by the engine: closes at 5 % against the average entry

    @property
    def warmup(self):
        return self.window

    def features(self, market):
        rate = pd.Series(market.funding_8h)
        past = rate.rolling(market.bars(self.window))
        return {"funding_z": (rate - past.mean()) / past.std()}

    @staticmethod
    def decide(position, funding_z, entry_z, exit_z, leverage):
        if position == 0.0:
            if funding_z > entry_z:
                return -leverage
            if funding_z < -entry_z:
                return leverage
        elif abs(funding_z) < exit_z:
            return 0.0
        return HOLD


# %% [markdown]
# ## The run
#
# Decided at a close, filled from the next open on. Fees, dated margin brackets and liquidation are those of the
# venue that is named; funding is paid as it was settled; an order pays half the spread and its impact.

# %%
result = simulate(market, FundingFade(), venue="binance", account=Account(equity=10_000))
result

# %%
result.plot()

# %% [markdown]
# Every trade, and what it made: `profit` is after fees, funding and slippage, which stand beside it.

# %%
result.trades[["ts", "side", "entry_price", "exit_price", "profit", "fees", "funding", "hours", "why"]]

# %% [markdown]
# Nothing is lost on the way: profit, fees and funding are rows of a ledger, and the wallet is its sum.

# %%
result.ledger.groupby("kind")["amount"].sum()

# %%
assert abs(10_000 + result.ledger["amount"].sum() - result.wallet.iloc[-1]) < 1e-6

# %% [markdown]
# ## Against what?
#
# The same run without costs, and simply buying and keeping.

# %%
free = simulate(market, FundingFade(), venue="binance", costs=Costs.none(maker=0.0, taker=0.0))
kept = hold(market, notional=10_000)
curves = {
    "funding fade": result.equity,
    "the same, without costs": free.equity,
    "buy and hold, with funding": kept.to_frame()["equity"],
}
figure = go.Figure()
for (name, curve), dash in zip(curves.items(), ("solid", "dot", "dash"), strict=True):
    shown = curve.resample("1h").last()
    figure.add_scatter(x=shown.index, y=shown, name=name, line_dash=dash)
figure.update_layout(title="Equity of 10,000 USDT", height=380)
figure

# %% [markdown]
# What was assumed on the way, and what to know before believing it:

# %%
for text in (*result.warnings, *result.assumptions):
    print("-", text)

# %% [markdown]
# ## As a vectorbt portfolio
#
# The same run with the records and statistics of vectorbt, funding and liquidations included. Loading vectorbt takes
# some seconds.

# %%
result.portfolio.stats()

# %% [markdown]
# ## Keep it, and show it
#
# A saved result is a folder, and `Result.load` gives the same bits back. A report is one file that needs no network:
# with the market and the strategy it also says how far to believe the run.

# %%
saved = result.save(Path(folder.name) / "fade")
page = result.report("quickstart.html", market=market, strategy=FundingFade(), venue="binance", made_up=True)
print(f"{page}: {page.stat().st_size / 1e6:.1f} MB, open it in a browser")

# %%
folder.cleanup()

# %% [markdown]
# ## Where to go from here
#
# | | |
# |---|---|
# | [2 · Anatomy of a leverage cycle](02_anatomy_of_a_leverage_cycle.ipynb) | how a crowd builds up and is forced out |
# | [3 · Your own strategy](03_your_own_strategy.ipynb) | an idea in a cell, its mistakes and its costs |
# | [4 · Sweep and walk-forward](04_sweep_and_walk_forward.ipynb) | many parameter sets without fooling yourself |
# | [5 · Under the microscope](05_under_the_microscope.ipynb) | mechanics against published examples |
# | [6 · Stress test](06_stress_test.ipynb) | a shock with the market's own answer to it |
# | [7 · Bring real data](07_bring_real_data.ipynb) | your files, and what exchanges serve |
