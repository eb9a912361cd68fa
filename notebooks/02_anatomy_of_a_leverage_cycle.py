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
# # 2 · Anatomy of a leverage cycle
#
# How a crowd builds up, what it pays, where it can be forced out, and what happens when it is. In a real market most of
# that is hidden: who holds what with how much leverage, and whether news or the crowd itself began a fall. So this
# notebook uses a market whose every account is known: a simulated venue with 20,000 traders, a book, a liquidation
# engine and an insurance fund. Nothing in it ever happened. What is real about it, and what is not, is in
# `docs/crowd.md`.

# %%
import numpy as np
import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from backtest.crowd.as_market import START, market_of
from backtest.crowd.kernel import layout as at
from backtest.crowd.ladder import liquidation_map, observed_of
from backtest.crowd.ladder_errors import errors, true_map
from backtest.crowd.machine import Machine
from backtest.crowd.truth import cascades
from backtest.crowd.world import World
from backtest.report import look
from strategies import events
from strategies.detectors import Truth, plot, score_all

look.use()
pd.options.display.float_format = "{:,.3f}".format

world = World()
history = Machine(world, seed=1).run(days=90)
market = market_of(history, world)
truth = cascades(history)
print(f"{len(truth.start)} cascades in 90 days, {np.mean(truth.news):.0%} of them set off by news")

# %% [markdown]
# ## Ninety days
#
# Price, what is open (in coins, so that the price is not in it), and what longs pay. Red marks are cascades that threw
# longs out, green ones shorts; the larger, the more of the open interest went.

# %%
hourly = market.resample("1h")
when = hourly.ts.astype("datetime64[ns]")
bars = history.bars
minutes = market.ts.astype("datetime64[ns]")

figure = make_subplots(rows=3, shared_xaxes=True, vertical_spacing=0.04, row_heights=[0.5, 0.28, 0.22])
figure.add_scatter(x=when, y=hourly.close, name="price", line_color=look.BLUE, row=1, col=1)
for side, name, color in ((1, "longs thrown out", look.RED), (-1, "shorts thrown out", look.GREEN)):
    rows = truth.side == side
    size = 6 + 60 * truth.size[rows]
    figure.add_scatter(
        x=minutes[truth.worst[rows]], y=bars[truth.worst[rows], at.T_CLOSE], name=name, mode="markers",
        marker={"size": size, "color": color, "opacity": 0.75}, row=1, col=1,
    )  # fmt: skip
figure.add_scatter(x=when, y=hourly.open_interest, name="open interest, coins", line_color=look.ORANGE, row=2, col=1)
figure.add_scatter(
    x=when,
    y=hourly.funding_8h * 1e4,
    name="funding, bp per 8 h",
    line={"color": look.PURPLE, "shape": "hv"},
    row=3,
    col=1,
)
figure.update_layout(height=620)
figure

# %% [markdown]
# ## The worst of them, minute by minute
#
# Four things to look at. The index is the price elsewhere: it falls too, but less. Forced selling comes in bursts, each
# set off by the fall that the one before it made. The book is thin just when it is needed. And open interest does not
# come back: the positions are gone, not moved.

# %%
worst = int(np.argmax(np.where(truth.side > 0, truth.size, 0.0)))
first, last = int(truth.start[worst]) - 90, int(truth.end[worst]) + 150
part, clock = bars[first:last], minutes[first:last]
print(
    f"{pd.Timestamp(clock[90])}: {truth.fall[worst]:+.1%} from the open of its first minute, "
    f"{truth.size[worst]:.0%} of the open interest liquidated, {'news' if truth.news[worst] else 'no news'}"
)

figure = make_subplots(
    rows=4, shared_xaxes=True, vertical_spacing=0.06, row_heights=[0.4, 0.22, 0.19, 0.19],
    subplot_titles=("price", "longs liquidated, millions a minute", "bids within 1 %", "open interest, coins"),
)  # fmt: skip
figure.add_scatter(x=clock, y=part[:, at.T_CLOSE], name="here", line_color=look.BLUE, row=1, col=1)
figure.add_scatter(x=clock, y=part[:, at.I_CLOSE], name="index", line={"color": look.INK, "dash": "dot"}, row=1, col=1)
figure.add_bar(x=clock, y=part[:, at.LIQ_LONG] / 1e6, marker_color=look.RED, showlegend=False, row=2, col=1)
figure.add_scatter(x=clock, y=part[:, at.DEPTH_BID] / 1e6, line_color=look.GREEN, showlegend=False, row=3, col=1)
figure.add_scatter(x=clock, y=part[:, at.OI], line_color=look.ORANGE, showlegend=False, row=4, col=1)
figure.update_layout(height=680)
figure

# %% [markdown]
# ## The liquidation map, an hour before
#
# Where would who be liquidated? The venue knows. A trader can only estimate it, from prices and open interest: the
# stock of positions by the price that liquidates them, carried from bar to bar. Here both can be drawn. The same seed
# gives the same market to the last bit, so it is run again, and stopped an hour before.

# %%
machine = Machine(world, seed=1)
past = machine.run(count=int(truth.start[worst]) - 60)
true, seen = true_map(machine), liquidation_map(observed_of(past))

figure = go.Figure()
width = 0.005
for name, found, style in (("what was there", true, {}), ("what a trader could estimate", seen, {"opacity": 0.55})):
    ladder = found.ladder(0.15, width)
    for sign, notional, color in ((-1, ladder.long_notional, look.RED), (1, ladder.short_notional, look.GREEN)):
        away = sign * 100 * ladder.distance
        if style:
            figure.add_scatter(
                x=away, y=notional / 1e6, name=f"{name} ({'longs' if sign < 0 else 'shorts'})",
                line={"color": look.GOLD, "width": 2, "dash": "solid" if sign < 0 else "dot"},
            )  # fmt: skip
        else:
            figure.add_bar(
                x=away, y=notional / 1e6, name=f"{name} ({'longs' if sign < 0 else 'shorts'})", marker_color=color
            )
figure.update_layout(
    height=400, title="Millions liquidated by how far the price goes",
    xaxis_title="percent from the price", yaxis_title="millions", bargap=0.0, margin_t=90,
)  # fmt: skip
figure

# %%
longs, shorts = errors(seen, true)
pd.DataFrame(
    {
        "estimated over true, within 2 %": (longs.ratio[0], shorts.ratio[0]),
        "overlap of the shapes": (longs.overlap, shorts.overlap),
        "rank correlation of the bins": (longs.rank, shorts.rank),
    },
    index=["longs", "shorts"],
).T

# %% [markdown]
# The shape is right: where the levels lie thick and where there are none. The amounts are not. A map has to be told how
# leverage is spread, and its default is another venue's; this crowd is deeper in, most of all far from the price. Near
# the price the amount is right within a factor of two or so, and that is the rule: `docs/liquidation_map.md` has the
# evidence, on this market and on real prints, and says which part of it is worth having.
#
# ## Finding them without the truth
#
# `events.find` needs only what everybody has: the price moved far for its volatility while open interest went. What did
# it find of what was there?

# %%
found = events.find(market.resample("5m"), events.Unwind())
found[["side", "start", "confirmed", "depth", "destroyed", "jump", "cause", "recovery_h"]].head(8)

# %%
starts = minutes[truth.start]
confirmed = found["confirmed"].to_numpy()
lead = np.timedelta64(2, "h")
met = np.array([np.any(np.abs(starts - t) <= lead) for t in confirmed])
caught = np.array([np.any(np.abs(confirmed - t) <= lead) for t in starts])
big = truth.size >= 0.05
print(f"{met.mean():.0%} of {len(found)} events found lie within two hours of a true cascade")
print(
    f"{caught.mean():.0%} of all cascades were found, {caught[big].mean():.0%} of the {big.sum()} that took 5 % or more"
)

# %% [markdown]
# ## Seeing them coming
#
# That is another question, and the one that everybody asks. A detector raises an alarm that lasts a day. **By luck** it
# catches as many cascades as it covers time: the diagonal. Only what lies well above it says anything.

# %%
names = ("oi_build", "funding_z", "fragility_down", "absorption_down", "volatility_ratio")
marks = score_all(hourly, Truth.of_history(history, START), names)
figure = plot(marks)
figure.update_layout(height=460, title="Cascades caught, against the time spent in alarm")
figure

# %%
marks.loc[marks["covered"].between(0.1, 0.35), ["detector", "covered", "recall", "p", "precision", "base_precision"]]

# %% [markdown]
# Thresholds here are quantiles of the same ninety days, which nobody knew at the time; on other seeds it looks worse
# (`docs/events.md`). The lesson of this market, and as far as one can tell of real ones: **when** leverage unwinds can
# hardly be known. **How much** goes once a shock comes rises clearly with the build-up. So leverage is something to be
# sized for, more than something to be timed.
#
# Next: [3 · Your own strategy](03_your_own_strategy.ipynb).
