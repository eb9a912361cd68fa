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
# # 6 · Stress test
#
# What does a shock do to a venue and its crowd, and how much of the fall is the market's own doing? A backtest cannot
# say: it has one past, and your own orders do not move it. Here the deleveraging machine itself is run: a crowd of
# leveraged accounts, a book that thins, a liquidation engine, an insurance fund, and winners who are closed when it
# is empty.
#
# Nothing in it happened. Compare rules with each other rather than read one number (`docs/crowd.md` says why).

# %%
import numpy as np
import pandas as pd
from plotly.subplots import make_subplots

from backtest import HOLD, Strategy
from backtest.crowd import figures
from backtest.crowd.inside import inside
from backtest.crowd.machine import Machine
from backtest.crowd.montecarlo import futures, sensitivity
from backtest.crowd.shock import Shock
from backtest.crowd.stress import stress
from backtest.crowd.world import Crowd, Policy, World
from backtest.report import look

look.use()
pd.options.display.float_format = "{:,.3f}".format

calm, crowded = Machine(World(), seed=7), Machine(World(), seed=1)
calm.run(days=20)
crowded.run(days=87)  # just before the worst cascade of notebook 2
for name, machine in (("calm", calm), ("crowded", crowded)):
    print(f"{name}: {machine.open_interest()[0]:,.0f} coins open")

# %% [markdown]
# ## One shock
#
# Twelve percent in half an hour, from outside. What is below the dashed line is feedback: forced selling that forces
# more selling.

# %%
found = stress(crowded, Shock.ramp(-0.12, minutes=30))
print(found)
found.plot()

# %% [markdown]
# **R0** is the number to look at, as in an epidemic: within a tick nothing comes from outside, so what a second wave of
# liquidations triggers is the first one's doing. Above 1 a wave makes a larger one.
#
# ## When does it bite?
#
# The same two crowds, shocks of every size. The straight line is what the world did; the distance to it is what the
# market added.

# %%
sizes = -np.array([0.01, 0.02, 0.03, 0.05, 0.07, 0.10, 0.14, 0.20])
figure = make_subplots(
    cols=2, subplot_titles=("deepest fall, %", "liquidated, % of what is open"), horizontal_spacing=0.09
)
for name, machine, color in (("calm", calm, look.BLUE), ("crowded", crowded, look.RED)):
    summaries = [stress(machine, Shock.ramp(size, minutes=30), hours=2.0).summary for size in sizes]
    for column, key in ((1, "move"), (2, "liquidated, part of open interest")):
        figure.add_scatter(
            x=-100 * sizes, y=100 * np.abs([s[key] for s in summaries]), name=name, line_color=color,
            mode="lines+markers", showlegend=column == 1, row=1, col=column,
        )  # fmt: skip
figure.add_scatter(
    x=-100 * sizes, y=-100 * sizes, name="without feedback", line={"color": look.INK, "dash": "dash"}, row=1, col=1
)
figure.update_xaxes(title_text="shock, %")
figure.update_layout(height=400, legend={"y": -0.22, "yanchor": "top"})
figure

# %% [markdown]
# ## The fund, and who pays when it is empty
#
# A jump leaves no time: accounts go through bankruptcy before the engine can sell. What the fund cannot pay is taken
# from winners. **All policies take the same in all; they differ in whom they take it from.**

# %%
rows, hit = {}, {}
for adl in ("queue", "pro_rata", "capped_then_size", "min_max"):
    one = stress(crowded, Shock.instant(-0.25), policy=Policy(adl=adl, fund=0.0005))
    s = one.summary
    rows[adl] = {
        "fall, %": 100 * s["move"],
        "fund at worst, M": s["fund at worst"] / 1e6,
        "taken from winners, M": s["ADL haircut"] / 1e6,
        "accounts": s["ADL accounts"],
        "largest part of one account's equity": s["ADL largest share"],
    }
    hit[adl] = one.hit
pd.DataFrame(rows).T

# %%
hit["queue"]

# %% [markdown]
# ## Other rules
#
# The same shock under other leverage caps and on other venues, each with a crowd that has gathered under that rule:
# other rules make another crowd. (One seed and few accounts, to be quick; for an answer take the defaults.)

# %%
table = sensitivity(
    World(crowd=Crowd(accounts=3_000)),
    -0.10,
    over={"leverage cap": (125.0, 20.0, 5.0), "venue": ("binance", "okx", "hyperliquid")},
    seeds=(1,),
    threads=1,
)
figures.sensitivity(table, outputs=("move", "liquidated, part of open interest"))

# %% [markdown]
# ## What may happen by itself
#
# Many futures of the same state: the outside world and the crowd's decisions are drawn anew. Chances come with
# intervals, for forty futures are not many. Do not read a forecast into it: this state was picked because a cascade
# came next.

# %%
odds = futures(crowded, hours=24, runs=40, threads=1)
odds.table

# %%
figures.futures(odds)

# %% [markdown]
# ## A strategy inside
#
# The strategy's own orders move this market, and so does its liquidation. Beside it, the same strategy on the
# recorded path with the costs of a backtest. With small money the two stay close; with large money the difference is
# what no backtest on recorded prices can know.


# %%
class Swing(Strategy):
    """Long above the mean of three days, short below."""

    window: str = "3d"
    leverage: float = 2.0

    @property
    def warmup(self):
        return self.window

    def features(self, market):
        price = pd.Series(market.close)
        return {"above": price / price.rolling(market.bars(self.window)).mean() - 1.0}

    @staticmethod
    def decide(position, above, leverage):
        if above > 0.01:
            return leverage if position <= 0.0 else HOLD
        if above < -0.01:
            return -leverage if position >= 0.0 else HOLD
        return HOLD


figure = make_subplots(cols=2, subplot_titles=("with 100,000", "with 30 million"), horizontal_spacing=0.08)
for column, equity in ((1, 1e5), (2, 3e7)):
    both = inside(Swing, World(crowd=Crowd(accounts=2_500)), days=12, warm_days=4, bar="4h", equity=equity, seed=3)
    outside = both.outside.equity.iloc[-len(both.equity) :]  # without the days for warming up
    for name, curve, color in (("backtest", outside, look.INK), ("in the market", both.equity, look.ORANGE)):
        figure.add_scatter(
            x=outside.index, y=100 * (curve / equity - 1), name=name, line_color=color,
            showlegend=column == 1, row=1, col=column,
        )  # fmt: skip
figure.update_yaxes(title_text="profit, %", col=1)
figure.update_layout(height=380, legend={"y": -0.2, "yanchor": "top"})
figure

# %% [markdown]
# With two tenths of a percent of what is open, the two stay close. With half of it they part: the
# backtest charges impact for each order, but the path that it trades does not know that anybody was there.
#
# On the command line: `unwind stress --shock -12 --fund 0.2 --html stress.html`. From real data, `unwind stress
# --symbol ...` estimates a crowd first, from open interest and prices; how rough that is, says
# `docs/liquidation_map.md`.
#
# Next: [7 · Bring real data](07_bring_real_data.ipynb).
