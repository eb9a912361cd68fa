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
# # The store and the market
#
# What goes into Unwind and what comes out: rows into a **store**, aligned arrays out of it as a **market**. The
# data here is made up, so that this notebook runs anywhere; nothing in it ever happened. With data of your own,
# only the first cells change.

# %%
import tempfile
from pathlib import Path

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from backtest.hold import hold
from data.ingest import ingest
from data.sources.made_up import made_up
from data.store import Store

folder = tempfile.TemporaryDirectory(prefix="unwind-notebook-")
store = Store(Path(folder.name) / "made-up.duckdb")
print(ingest(made_up(), store))

# %% [markdown]
# The store is one DuckDB file. No connection outlives a call, so this notebook does not keep anybody else from
# writing. The same data again changes nothing:

# %%
print(ingest(made_up(), store))

# %% [markdown]
# ## What is stored
#
# Any SQL goes, and comes back as an Arrow table. Or ask for a table by name and get a pandas frame.

# %%
store.query(
    """
    SELECT symbol, price, interval_s, count(*) AS bars, min(ts) AS first, max(ts) AS last
    FROM candles GROUP BY ALL ORDER BY ALL
    """
).to_pandas()

# %%
store.table("liquidations", symbol="ALFAUSDT", start="2024-03-14", end="2024-03-15").nlargest(5, "notional")[
    ["ts", "position", "price", "quantity", "notional", "feed"]
]

# %% [markdown]
# ## A market
#
# Everything of one symbol on one grid of bars. What stands in a bar was known before its close; what is missing
# is NaN and is counted below, never filled in.

# %%
market = store.market("ALFAUSDT", "1m")
market

# %%
hourly = market.resample("1h")
times = hourly.ts.astype("datetime64[ns]")

figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.04, row_heights=[0.5, 0.25, 0.25])
figure.add_scatter(x=times, y=hourly.mark_close, name="mark", row=1, col=1)
figure.add_scatter(x=times, y=hourly.open_interest, name="open interest", row=2, col=1)
figure.add_scatter(x=times, y=hourly.funding_8h * 1e4, name="funding, bp per 8 h", line_shape="hv", row=3, col=1)
figure.update_layout(height=560, template="plotly_white", margin={"t": 20})
figure

# %% [markdown]
# Leverage builds up on one side until it is forced out: open interest falls off a cliff, and the price with it.
# How much of the worst hour was forced?

# %%
worst = int(np.nanargmax(hourly.liq_long))
{
    "hour": str(times[worst]),
    "price": f"{hourly.close[worst] / hourly.open[worst] - 1:+.1%}",
    "longs liquidated": f"{hourly.liq_long[worst]:,.0f}",
    "open interest": f"{hourly.open_interest[worst] / hourly.open_interest[worst - 1] - 1:+.1%}",
}

# %% [markdown]
# ## Margin tiers, as they were
#
# Tiers are dated. A position of March 10 is checked against the brackets of March 10, not against today's.

# %%
store.tiers("ALFAUSDT", "2024-03-10")[["valid_from", "floor", "cap", "mmr", "max_leverage", "cum"]]

# %%
store.tiers("ALFAUSDT", "2024-03-25")[["valid_from", "floor", "cap", "mmr", "max_leverage", "cum"]]

# %% [markdown]
# ## Buying and keeping
#
# The curve that any strategy has to beat: unlevered, paid for in full, funding included. It cannot be
# liquidated.

# %%
long, short = hold(market), hold(market, side=-1)
print(long)
print(short)

# %%
frame = long.to_frame().resample("1h").last()
figure = go.Figure()
figure.add_scatter(x=frame.index, y=frame["equity"], name="long, net")
figure.add_scatter(x=frame.index, y=frame["gross"], name="long, before funding", line_dash="dot")
figure.update_layout(height=360, template="plotly_white", margin={"t": 20})
figure

# %% [markdown]
# Every movement of cash is a row, and the wallet is their sum in order:

# %%
long.ledger_frame().tail()

# %%
assert np.isclose(long.ledger["amount"].sum() + long.price[-1], long.equity[-1])
folder.cleanup()
