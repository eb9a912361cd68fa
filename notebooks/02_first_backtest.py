# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # A first backtest
#
# An idea, a run with margin and funding, what happened in it, and what changes when its parameters do. The market
# is made up, so that this notebook runs anywhere; a profit in it means nothing. The first run of a version
# compiles the engine, which takes about a minute.

# %%
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from backtest import HOLD, Account, Costs, Result, Strategy, measure, simulate
from backtest.features import lookahead
from data.ingest import ingest
from data.sources.made_up import made_up
from data.store import Store

folder = tempfile.TemporaryDirectory(prefix="unwind-notebook-")
store = Store(Path(folder.name) / "made-up.duckdb")
ingest(made_up(), store)
market = store.market("ALFAUSDT", "1m")
market

# %% [markdown]
# ## The idea
#
# When everybody is long, longs pay dearly to stay so, and are the ones who can be forced out. So: go short where
# funding is unusually high against its last days, long where it is unusually low, and leave when it is ordinary
# again.
#
# A strategy has **parameters**, **features** of the whole market at once, and **`decide`**, which is asked at
# every close. It names what it needs and returns a target, a signed multiple of equity, or `HOLD`.


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
# `decide` is a plain function: try it. And see that no feature knows the future.

# %%
print(FundingFade.decide(position=0.0, funding_z=3.1, entry_z=2.0, exit_z=0.5, leverage=3.0))
print(lookahead(FundingFade(), market))

# %% [markdown]
# ## The run

# %%
result = simulate(market, FundingFade(), venue="binance", account=Account(equity=10_000))
result

# %%
result.plot()

# %% [markdown]
# Each trade, and what it was made of. `profit` is the move of the price alone.

# %%
result.trades[["ts", "closed", "side", "entry_price", "exit_price", "profit", "fees", "funding", "why"]]

# %%
result.fills[["ts", "why", "quantity", "price", "fee"]].head()

# %% [markdown]
# Nothing is lost between the rows: the wallet is the sum of the ledger.

# %%
assert np.isclose(10_000 + result.ledger["amount"].sum(), result.wallet.iloc[-1])
result.ledger.groupby("kind")["amount"].sum()

# %% [markdown]
# What was assumed on the way, and what to know before believing it:

# %%
for text in (*result.warnings, *result.assumptions):
    print("-", text)

# %% [markdown]
# What do costs take? The same run without any:

# %%
free = simulate(market, FundingFade(), venue="binance", costs=Costs.none())
pd.DataFrame({"with costs": result.metrics, "without": free.metrics}).loc[
    ["total_return", "max_drawdown", "trades", "fees", "slippage", "funding"]
]

# %% [markdown]
# ## Liquidation
#
# A habit instead of an idea: long five times equity, bought anew every day, with a quarter of the account as
# margin (leverage 20). Your own numbers go in as `exposure`, one a bar; orders are sent where the value changes.

# %%
midnight = market.ts % (24 * 3600 * 10**9) == 0
careless = simulate(market, exposure=np.where(midnight, 0.0, 5.0), venue="binance", account=Account(leverage=20))
careless.liquidations[["ts", "side", "trigger", "price", "bankruptcy", "fee", "loss"]]


# %% [markdown]
# How near the others were: the distance of the mark from liquidation, by bar.


# %%
def lines(runs: dict[str, Result], series: str) -> go.Figure:
    figure = go.Figure()
    for name, run in runs.items():
        values = getattr(run, series).resample("1h").last()
        figure.add_scatter(x=values.index, y=values, name=name)
    figure.update_layout(height=320, template="plotly_white", margin={"t": 20}, yaxis_title=series.replace("_", " "))
    return figure


runs = {"funding fade": result, "long, every day anew": careless}
lines(runs, "equity")

# %%
lines(runs, "margin_distance")

# %% [markdown]
# ## Many parameter sets
#
# `measure` walks them all over the same market and keeps the measures alone. Features are computed once for each
# `window`, since nothing else goes into them.

# %%
thresholds, leverages = np.arange(1.0, 3.01, 0.25), np.array([1.0, 2.0, 3.0, 5.0, 8.0])
grid = [FundingFade(entry_z=z, leverage=x, window=w) for w in ("2d", "3d") for z in thresholds for x in leverages]
table = measure(market, grid, venue="binance")
table[["total_return", "max_drawdown", "trades", "liquidations", "funding"]].describe().loc[["min", "50%", "max"]]

# %%
shown = table["total_return"].xs("3d", level="window").unstack("leverage").droplevel(["exit_z", "stop_loss"])
figure = go.Figure(go.Heatmap(z=shown, x=[f"{x:g}x" for x in shown.columns], y=shown.index, zmid=0.0))
figure.update_layout(
    height=360, template="plotly_white", xaxis_title="leverage", yaxis_title="entry_z", margin={"t": 20}
)
figure

# %% [markdown]
# A row of the table is the run it stands for:

# %%
one = simulate(market, grid[7], venue="binance").metrics
assert np.allclose(one, table.iloc[7], equal_nan=True)

# %% [markdown]
# The best row was chosen after the fact, from one made-up month. It says how the idea behaves, not what it will
# earn: a neighbourhood of sets that agree says more than a single peak.

# %%
folder.cleanup()
