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
# # 5 · Liquidation, funding and slippage under the microscope
#
# A backtest of leverage is as good as its arithmetic of the worst moment. So each piece is held here against an example
# that a venue, or somebody else, has published: first the formula, then the engine itself on a market made for it.

# %%
import math

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from backtest import Account, Costs, rules, simulate, verify
from backtest import calibration as cal
from backtest.costs import cost_of_taking
from backtest.liquidity import Tape, coefficients
from backtest.report import look
from backtest.venue import Fees, Venue, brackets, venue
from data.clock import MINUTE
from data.market import Market

look.use()
pd.options.display.max_colwidth = 100
cases = {case.id: case for case in verify.load()}


def against(*names):
    """What a source prints beside what our functions give."""
    rows = []
    for one in verify.run(cases[name] for name in names):
        rows += [
            {"source": one.source, "value": key, "published": value, "ours": one.ours[key], "": one.status}
            for key, value in one.expected.items()
        ]
    return pd.DataFrame(rows)


def falling(prices, symbol="BTC/USDT:USDT", **more):
    """A market of minutes that walks straight from one price to the next."""
    path = np.concatenate([np.full(5, prices[0]), np.linspace(prices[0], prices[1], 600)])
    opens = np.concatenate([path[:1], path[:-1]])
    frame = {"open": opens, "high": np.maximum(opens, path), "low": np.minimum(opens, path), "close": path}
    times = pd.date_range("2024-01-01", periods=len(path), freq="1min")
    return Market.from_frames(pd.DataFrame({"ts": times, **frame, "volume": 1e5}), symbol=symbol, **more)


# %% [markdown]
# ## Where is a position liquidated?
#
# When what is left of its margin no longer covers maintenance. On venues with brackets maintenance is
# `notional x rate - amount` of the bracket that holds it, so the price has to be looked for bracket by bracket:
#
# $$ p = \frac{\text{entry} - (\text{balance} + \text{amount}) / q}{1 - \text{rate}} \qquad \text{(long)} $$

# %%
against("binance-btc-isolated-finds-its-tier", "binance-btc-cross-of-two", "bybit-long-19700", "bybit-bust-9800")

# %% [markdown]
# And the engine? The first of them as a run: 109.488 BTC at 32,481.98, behind which stand 1,535,443.01 USDT, and a
# price that goes down.

# %%
example = cases["binance-btc-isolated-finds-its-tier"]
quantity, entry, wallet = (example.inputs[key] for key in ("qty", "entry_price", "wallet_balance"))
table = brackets(*((cap, rate, 125.0) for _, cap, rate in example.inputs["tiers"]["rows"]))
plain = Venue("the example", "linear", Fees(0.0, 0.0, 0.0), tiers=table)

run = simulate(
    falling((entry, 18_000.0)), exposure=quantity * entry / wallet, venue=plain, costs=Costs.none(),
    account=Account(equity=wallet, mode="cross"),
)  # fmt: skip
row = run.liquidations.iloc[0]
print(f"bought {run.fills['quantity'].iloc[0]:,.3f} at {run.fills['price'].iloc[0]:,.2f}")
print(f"published {example.expected['liq_price']:,.2f}, liquidated at a mark of {row['trigger']:,.2f}")
assert abs(row["trigger"] - example.expected["liq_price"]) < 0.01

# %% [markdown]
# Formulas have dates. Bybit's example of 2023 takes maintenance at the entry price and gives 19,700. Since 2025 it is
# taken at the mark, which falls with the price, and that is what the engine does:

# %%
bybit = Venue("one bracket", "linear", Fees(0.0, 0.0, 0.0), tiers=brackets((1e9, 0.005, 100.0)))
run = simulate(
    falling((20_000.0, 19_500.0)),
    exposure=1.0,
    venue=bybit,
    costs=Costs.none(),
    account=Account(equity=20_000, leverage=50),
)
row = run.liquidations.iloc[0]
print(f"published in 2023: 19,700.00; at the mark: {(20_000 - 400) / (1 - 0.005):,.2f}; engine: {row['trigger']:,.2f}")
print(f"bankrupt at {row['bankruptcy']:,.0f}: the difference of {-row['insurance']:,.2f} goes to the insurance fund")

# %% [markdown]
# ## How much of it goes?
#
# That is policy, and venues differ. The same long of 40 million at 10x, the same fall:

# %%
figure = go.Figure()
fall = falling((50_000.0, 44_000.0))
for name, color in zip(("binance", "bybit", "okx", "hyperliquid"), look.SERIES, strict=False):
    profile = venue(name)
    large = simulate(
        fall, exposure=8.0, venue=profile, costs=Costs.none(),
        account=Account(equity=5e6, leverage=10),
    )  # fmt: skip
    left = 100 * large.positions.iloc[:, 0] / large.positions.iloc[:, 0].max()
    drop = 100 * (fall.mark_close / 50_000.0 - 1.0)
    rule = profile.liquidation
    figure.add_scatter(
        x=drop, y=left, name=f"{name}: {rule.reduction}, then {rule.residual}", line={"color": color, "shape": "hv"}
    )
figure.update_xaxes(autorange="reversed", title_text="price, %")
figure.update_yaxes(title_text="left of the position, %")
figure.update_layout(height=420, title="Liquidation by the venue's own policy", margin_t=90)
figure

# %% [markdown]
# What a venue does not publish is a stated assumption, taken against the trader: `venue("binance").assumptions`. And
# who pays when the fund cannot? Those who are winning, by their place in a queue:

# %%
against("bybit-fund-pays-a-worse-fill", "bitmex-queue-what-is-left", "bybit-adl-drawdown")

# %% [markdown]
# ## Funding
#
# The rate follows the premium, but a damper keeps it at the interest rate while the premium is small: the flat step
# in the picture. Venues differ in the step, not in the idea.

# %%
premium = np.linspace(-0.0015, 0.0015, 301)
formulas = {
    "Binance, Bybit, Hyperliquid": rules.damped,
    "OKX (2024)": rules.okx_funding_rate,
    "Deribit": rules.deribit_funding_rate_8h,
}
figure = go.Figure()
for name, rate in formulas.items():
    figure.add_scatter(x=1e4 * premium, y=[1e4 * rate(p) for p in premium], name=name)
figure.update_layout(height=360, xaxis_title="premium, bp", yaxis_title="funding of 8 hours, bp")
figure

# %%
against(
    "binance-funding-lower-edge",
    "hyperliquid-premium-of-the-example",
    "hyperliquid-hourly-cap",
    "deribit-funding-below",
)

# %% [markdown]
# Funding is taken from the margin, so **it moves the liquidation price**. Here the price stands still for a month
# while a long at 20x pays 7 bp every eight hours. Margin is 5 % and maintenance 0.5 %, so it can pay 64 times.

# %%
hours = pd.date_range("2024-01-01", periods=24 * 30, freq="1h")
flat = pd.DataFrame({"ts": hours, "open": 100.0, "high": 100.0, "low": 100.0, "close": 100.0, "volume": 1e6})
paid = pd.DataFrame({"ts": hours[8::8], "rate": 0.0007, "interval_hours": 8.0})
still = Market.from_frames(flat, funding=paid)
run = simulate(
    still, exposure=1.0, venue=bybit, costs=Costs.none(),
    account=Account(leverage=20),
)  # fmt: skip
expected = math.ceil((1 / 20 - 0.005) / 0.0007)
print(f"expected at settlement {expected}, liquidated at settlement {len(run.fundings)}")
assert len(run.fundings) == expected

level = run.liquidation_prices.iloc[:, 0]
figure = go.Figure()
figure.add_scatter(x=level.index, y=np.full(len(level), 100.0), name="price", line_color=look.BLUE)
figure.add_scatter(x=level.index, y=level, name="liquidation price", line={"color": look.RED, "shape": "hv"})
figure.update_layout(height=320, title="Liquidated without a move of the price")
figure

# %% [markdown]
# ## Slippage
#
# An order that takes pays half the spread and its impact: the square-root law, or the walk through the book,
# whichever is more. Then the book thins when the price runs. Held against a study of 4,870 falls of 3 % in 15 minutes
# on 21 perpetuals: basis points of an order in the minute after such a fall and of the one that closes it twenty
# minutes later.


# %%
def cascade(day_volume=600e6):
    """A coin as the study has them: 3.5 % a day, 1.56 million within 1 %, less of it after the fall."""
    n, at, sigma = 2000, 1700, 0.035 / math.sqrt(1440)
    returns = np.where(np.arange(n) % 2 == 0, sigma, -sigma)
    returns[at - 14 : at - 4], returns[at - 4 : at + 1] = -0.0018, -0.0024
    close = 100.0 * np.exp(np.cumsum(returns))[:, None]
    book = np.full((n, 1), 1.56e6)
    book[at - 5 : at + 30, 0] = np.linspace(0.983e6, 1.5e6, 35)
    none = np.zeros((0, 1))
    volume = np.full((n, 1), day_volume / 1440)
    unknown = np.zeros(1)
    return Tape(close, close, close, close > 0, none, volume, book, book, none, none, unknown, unknown), at + 1


tape, enter = cascade()
costs = Costs.impact()
known = coefficients(costs, tape, MINUTE)


def bps(bar, size):
    return 1e4 * cost_of_taking(known.half_spread[bar, 0], known.a[bar, 0], known.b[bar, 0], costs.delta, size)


pd.DataFrame(
    {
        "measured, bp": cal.ROUND_TRIPS,
        "Costs.impact(), bp": {size: round(bps(enter, size) + bps(enter + 20, size), 1) for size in cal.ROUND_TRIPS},
    }
).rename_axis("USD")

# %%
sizes = np.geomspace(1e4, 5e6, 60)
around = np.arange(enter - 60, enter + 120)
figure = make_subplots(cols=2, subplot_titles=("by size", "a million, by minutes since"), horizontal_spacing=0.1)
for bar, name, color in ((enter - 60, "an hour before", look.BLUE), (enter, "the minute after", look.RED)):
    figure.add_scatter(x=sizes, y=[bps(bar, s) for s in sizes], name=name, line_color=color, row=1, col=1)
figure.add_scatter(
    x=around - enter, y=[bps(bar, 1e6) for bar in around], showlegend=False, line_color=look.ORANGE, row=1, col=2
)
figure.update_xaxes(type="log", title_text="USD", col=1)
figure.update_yaxes(type="log", title_text="basis points a side", col=1)
figure.update_layout(height=400, legend={"y": -0.22, "yanchor": "top"})
figure

# %% [markdown]
# Above for small orders: the square-root law asks more than a walk through a book that stands still, which is the least
# that an order costs. Repeat your own run with `Costs.impact(times=2)` before you believe it (`docs/costs.md`).
#
# ## All of them
#
# `unwind verify` runs every published case that comes along, through the functions that the loops call. Where only a
# formula is published, the numbers are ours, and the source says so.

# %%
outcomes = verify.run(cases.values())
print(verify.summary(outcomes))
counted = pd.crosstab([o.kind for o in outcomes], [o.venue for o in outcomes], rownames=["kind"], colnames=["venue"])
shown = counted.astype(str).replace("0", "")
figure = go.Figure(
    go.Heatmap(
        z=counted.where(counted > 0), x=counted.columns, y=counted.index, text=shown, texttemplate="%{text}",
        colorscale=[[0, look.BLUE], [1, look.BLUE]], opacity=0.55, showscale=False, xgap=2, ygap=2, hoverinfo="skip",
    )
)  # fmt: skip
figure.update_layout(height=560, title="Published cases that agree, by kind and venue", xaxis_side="top", margin_t=90)
assert all(o.status == "pass" for o in outcomes)
figure

# %% [markdown]
# Next: [6 · Stress test](06_stress_test.ipynb).
