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
# # 4 · Sweep and walk-forward without fooling yourself
#
# The best of many always looks good. This notebook shows how good, on data without any skill in it; then sweeps a rule
# over five months of a simulated market, looks for a hill instead of a peak, asks what is left of the best, and trades
# it the only honest way: chosen on the past, judged on what followed.

# %%
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from IPython.display import display
from IPython.utils.capture import capture_output
from plotly.subplots import make_subplots

from backtest import Strategy, inference
from backtest.cli import main
from backtest.report import look
from backtest.sweep import sweep
from backtest.walkforward import Plan, walk_forward
from data.store import Store

look.use()
pd.options.display.float_format = "{:,.2f}".format
folder = tempfile.TemporaryDirectory(prefix="unwind-")
YEAR = np.sqrt(365)

# %% [markdown]
# ## What luck alone can do
#
# Fifty strategies over two years of days, none with any skill: their daily returns are random numbers. Below, the best
# of the first N, as it comes out, and as theory expects it.

# %%
rng = np.random.default_rng(4)
days, trials = 730, 50
noise = 0.02 * rng.standard_normal((days, trials))
planted = noise.copy()
planted[:, 17] += 3.0 / YEAR * 0.02  # one of them has a true Sharpe ratio of 3

ratios = YEAR * noise.mean(axis=0) / noise.std(axis=0, ddof=1)
count = np.arange(2, trials + 1)
expected = [YEAR * inference.expected_maximum(n, 1 / days) for n in count]
figure = go.Figure()
figure.add_scatter(x=count, y=np.maximum.accumulate(ratios)[1:], name="best so far, without skill", line_shape="hv")
figure.add_scatter(x=count, y=expected, name="expected of luck", line_dash="dash")
figure.update_layout(title="Annual Sharpe ratio of the best of N", xaxis_title="strategies tried", height=340)
figure

# %% [markdown]
# Three questions tell skill from luck. **PSR**: is the ratio above zero, had it been the only trial? **DSR**: is it
# above what the best of so many would show? **PBO**: how often is the best of one half of the days below average in
# the other?


# %%
def judged(returns):
    best = returns[:, np.argmax(returns.mean(axis=0) / returns.std(axis=0))]
    return {
        "annual Sharpe ratio of the best": YEAR * best.mean() / best.std(ddof=1),
        "PSR: above zero, alone": inference.psr(best),
        "DSR: above luck of fifty": inference.dsr(best, inference.trials_of(returns)),
        "PBO: overfit": inference.pbo(returns, blocks=12).pbo,
    }


pd.DataFrame({"noise": judged(noise), "one with skill": judged(planted)})

# %%
figure = make_subplots(cols=2, subplot_titles=("noise", "one with skill"), shared_yaxes=True, horizontal_spacing=0.05)
for column, returns in ((1, noise), (2, planted)):
    found = inference.pbo(returns, blocks=12)
    figure.add_scatter(
        x=YEAR * found.inside, y=YEAR * found.outside, mode="markers", showlegend=False,
        marker={"size": 4, "opacity": 0.4, "color": look.ORANGE if column == 1 else look.BLUE}, row=1, col=column,
    )  # fmt: skip
figure.update_xaxes(title_text="Sharpe ratio in the half it was chosen on")
figure.update_yaxes(title_text="in the other half", col=1)
figure.update_layout(height=380, hovermode="closest")
figure

# %% [markdown]
# Each dot is one way to cut the days in two. On noise, what looked better in one half is not better in the other. With
# one sample of noise PBO may well be 0.3 or 0.7: near zero it says something, in the middle it says little.
#
# ## A sweep
#
# Now a market: five months of one simulated coin, in a store. Over many seeds, following the trend earns nothing in it
# (`docs/crowd.md`), so whatever a trend rule makes here is luck. The rule is as plain as can be.

# %%
db = Path(folder.name) / "sim.duckdb"
with capture_output() as said:  # `unwind synth`, as on the command line
    main(["synth", "--years", "0.4", "--symbols", "1", "--seed", "7", "--accounts", "3000", "--db", str(db)])
print(*said.stdout.splitlines()[:2], sep="\n")
market = Store(db).market("AURUM/USDT:USDT", "1h", venue="sim")


# %%
class Crossing(Strategy):
    """Long while the fast mean of the price is above the slow one, short while it is below."""

    fast: str = "12h"
    slow: str = "5d"
    leverage: float = 1.0

    @property
    def warmup(self):
        return self.slow

    def features(self, market):
        price = pd.Series(np.log(market.close))
        fast, slow = (price.ewm(span=market.bars(length)).mean() for length in (self.fast, self.slow))
        return {"trend": np.sign(fast - slow)}

    @staticmethod
    def decide(trend, leverage):
        return leverage * trend


fasts = ["2h", "4h", "6h", "9h", "12h", "18h", "1d", "36h", "2d"]
slows = ["3d", "4d", "5d", "7d", "9d", "11d", "14d", "18d", "21d"]
found = sweep(Crossing, market, fast=fasts, slow=slows, venue="sim", progress=False)
found

# %%
found.heatmap("slow", "fast", "sharpe")

# %% [markdown]
# Every cell is a run with margin, funding and costs. **Peak or hill?** A set whose neighbours are poor was lucky.
# `plateau` ranks sets by the median of their neighbourhood.

# %%
peak, hill = found.best(3), found.plateau().head(3)
display(peak[["fast", "slow", "sharpe", "total_return", "trades"]], hill[["fast", "slow", "sharpe", "plateau"]])

# %% [markdown]
# ## Everything counts
#
# A store keeps a **register of trials** beside it. Whatever was run on its market, in this notebook, in another or on
# the command line, is in it, and the luck of all of them is what a result has to beat. Sets that trade alike count as
# fewer.

# %%
print(Path(market.register).name)
print(found.count().words())

# %% [markdown]
# **What is left of the best, given how it was found?**

# %%
tried = found.count()
luck = inference.Trials(tried.number, tried.variance, tried.effective)
returns = found.daily_returns()
best = returns[:, found.ranking()[0]]
pd.Series(
    {
        "annual Sharpe ratio of the best": YEAR * best.mean() / best.std(ddof=1),
        "what luck alone would show": YEAR * inference.expected_maximum(luck.counted, luck.variance),
        "PSR, as if it were the only one": inference.psr(best),
        "DSR": inference.dsr(best, luck),
        "PBO": found.overfitting(blocks=10).pbo,
    }
)

# %% [markdown]
# They answer different questions, so they need not agree. PBO compares the sets with each other: a low one says that
# the order lasts from one half to the other, as it does in a market that happened to drift. Whether the best is more
# than luck is for the DSR to say: 0.95 is where one begins to believe it.
#
# ## Walking forward
#
# Choose on sixty days, trade the next fifteen, move on. The tests are one simulation: positions are carried over the
# seams and every cost is paid. This is what choosing *as you choose* would have earned.

# %%
plan = Plan(train="60d", test="15d", choose="plateau", require=("liquidations == 0", "trades >= 3"))
forward = walk_forward(Crossing, market, plan, fast=fasts, slow=slows, venue="sim", progress=False)
forward

# %%
forward.plot()

# %%
forward.folds[["test_from", "fast", "slow", "sharpe_in", "sharpe_out", "rank", "agreement"]]

# %% [markdown]
# In sample every fold has a winner. **rank** is where it came out among all sets afterwards: 0 is the best, 1 the
# worst, one half what a blind choice gives. **agreement** is the rank correlation of all sets before and after:
# around zero, the past said nothing.

# %%
pd.DataFrame(forward.verdict().rows())[["name", "value", "rule", "bar", "outcome", "meaning"]]

# %% [markdown]
# (`forward.report("forward.html")` asks all of it, and makes a page of the walk-forward.)
#
# "Unknown" is no pass: it says that nobody asked, or that there is too little to tell. Five months are too little to
# tell almost anything: with a true Sharpe ratio of 1 it takes years.

# %%
normal = inference.Moments(n=2, sharpe=1.0 / YEAR)
print(f"{inference.min_track_record(normal) / 365:.1f} years, to be 95 % sure that a Sharpe ratio of 1 is above zero")
folder.cleanup()

# %% [markdown]
# **The habits.** Write down what you will try before you try it. Look at hills. Let the register count. Choose on the
# past, judge on what followed, once. And when the verdict says no, believe it. `docs/research.md` has the same road
# with four commands.
#
# Next: [5 · Under the microscope](05_under_the_microscope.ipynb).
