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
# # 7 · Bring real data
#
# Your own files, an exchange's archive, an exchange's own interface; then a look at what you have before you trust
# it. Every cell runs without a network: files are written here first, in the shapes in which one meets them, and the
# archive is served from this machine. For your own, only names and addresses change.

# %%
import functools
import hashlib
import http.server
import os
import shlex
import tempfile
import threading
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import plotly.graph_objects as go
from IPython.utils.capture import capture_output

from backtest import simulate
from backtest.cli import main
from backtest.hold import hold
from backtest.report import look
from data.market import Market
from data.store import Store

look.use()
folder = Path(tempfile.mkdtemp(prefix="unwind-"))
os.environ["UNWIND_DB"] = str(folder / "mine.duckdb")  # a store for this notebook alone
os.environ["no_proxy"] = "127.0.0.1"


def unwind(line):
    """A line of the command line, here: in a terminal it is `unwind` and the same words."""
    with capture_output() as said:
        code = main(shlex.split(line))
    print(f"$ unwind {line}".replace(f"{folder}/", ""))
    print((said.stdout + said.stderr).replace(f"{folder}/", "").strip())
    for shown in said.outputs:
        shown.display()
    return None if code == 0 else print(f"(exit code {code})")


# %% [markdown]
# ## Files of your own
#
# Three files as people have them: candles with names of their own and times in seconds, funding in percent, and open
# interest as Parquet.

# %%
rng = np.random.default_rng(7)
times = pd.date_range("2024-03-01", periods=3 * 1440, freq="1min")
close = 60_000 * np.exp(np.cumsum(0.0006 * rng.standard_normal(len(times))))
opens = np.concatenate([close[:1], close[:-1]])
candles = pd.DataFrame(
    {
        "when": times.as_unit("s").astype("int64"),
        "o": opens,
        "h": np.maximum(opens, close) * 1.0002,
        "l": np.minimum(opens, close) * 0.9998,
        "c": close,
        "vol": rng.lognormal(3.0, 0.6, len(times)),
    }
)
candles.drop(index=range(2000, 2030)).to_csv(folder / "btc.csv", index=False)  # half an hour is missing
rates = pd.DataFrame({"time": times[::480], "funding_rate": 0.01 * rng.standard_normal(9).round(3)})
rates.to_csv(folder / "rates.csv", index=False)
held = pd.DataFrame({"ts": times[::5], "quantity": 80_000 + np.cumsum(rng.normal(0, 60, len(times[::5])))})
held.to_parquet(folder / "open_interest.parquet")

unwind(
    f"import file {folder}/btc.csv --table candles --price trade --venue binance --symbol BTCUSDT "
    "--map ts=when,open=o,high=h,low=l,close=c,volume=vol"
)
unwind(f"import file {folder}/open_interest.parquet --table open_interest --venue binance --symbol BTCUSDT")

# %% [markdown]
# Rates that look like percent are not guessed at. A hundred times too much funding is a quiet way to be wrong:

# %%
unwind(
    f"import file {folder}/rates.csv --table funding --venue binance --symbol BTCUSDT --map ts=time,rate=funding_rate"
)

# %%
unwind(
    f"import file {folder}/rates.csv --table funding --venue binance --symbol BTCUSDT "
    "--map ts=time,rate=funding_rate --unit percent"
)

# %% [markdown]
# Exports of freqtrade, Tardis and CoinGlass have presets: `unwind import file user_data/data/binance/futures --preset
# freqtrade`. What each table and column means: `unwind schema`, or `docs/data.md`.
#
# ## An exchange's archive
#
# Binance publishes its history as files by day. The command is the same for the real address, `unwind import archive
# https://data.binance.vision --symbols BTCUSDT --since 2024-03-01 --kind markPriceKlines`; here the files are made
# and served from this machine.

# %%
mark = close * (1.0 + 0.0001 * rng.standard_normal(len(close)))
for day, rows in pd.Series(np.arange(len(times))).groupby(times.date):
    name = f"BTCUSDT-1m-{day}"
    place = folder / "served/data/futures/um/daily/markPriceKlines/BTCUSDT/1m"
    place.mkdir(parents=True, exist_ok=True)
    stamp = times[rows].as_unit("ms").astype("int64")
    flat = dict.fromkeys(("open", "high", "low", "close"), mark[rows])
    unused = dict.fromkeys(("count", "taker_buy_volume", "taker_buy_quote_volume", "ignore"), 0)
    table = pd.DataFrame(
        {"open_time": stamp, **flat, "volume": 0, "close_time": stamp + 59_999, "quote_volume": 0} | unused
    )
    with zipfile.ZipFile(place / f"{name}.zip", "w") as archive:
        archive.writestr(f"{name}.csv", table.to_csv(index=False))
    digest = hashlib.sha256((place / f"{name}.zip").read_bytes()).hexdigest()
    (place / f"{name}.zip.CHECKSUM").write_text(f"{digest}  {name}.zip\n")


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words):
        pass


served = functools.partial(Quiet, directory=str(folder / "served"))
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), served)
threading.Thread(target=server.serve_forever, daemon=True).start()
address = f"http://127.0.0.1:{server.server_address[1]}"

unwind(f"import archive {address} --symbols BTCUSDT --since 2024-03-01 --until 2024-03-04 --kind markPriceKlines")

# %% [markdown]
# Each file is checked by the checksum beside it. The same command again fetches nothing, so it is also how one goes on
# after a break.

# %%
unwind(f"import archive {address} --symbols BTCUSDT --since 2024-03-01 --until 2024-03-04 --kind markPriceKlines")
server.shutdown()
server.server_close()

# %% [markdown]
# ## An exchange's own interface
#
# Needs a network and `pip install 'unwind[exchanges]'`, so it is not run here. No key is needed for anything below:
#
# ```sh
# unwind fetch --venue binance --symbols BTC/USDT:USDT,ETH/USDT:USDT --since 2024-01-01 --what candles,mark,funding
# unwind fetch --venue bybit --symbols BTCUSDT --since 2024-01-01 --what candles,funding,open-interest --interval 5m
# unwind fetch --venue hyperliquid --symbols BTC/USDC:USDC --since 2024-01-01 --what funding --dry-run
# unwind record --venue binance --symbols BTCUSDT
# ```
#
# `fetch` asks only for what is missing; `--dry-run` says what that would be. `record` keeps what exchanges give only
# live, liquidations above all. What each venue can serve, and how far back: `docs/fetching.md`.
#
# **Margin tiers** decide when a position is liquidated, and they change. Import them with their dates: `unwind import
# tiers tier-history --venue binance`. Without them a run uses the brackets of the venue's profile, and says so.
#
# ## Before you trust it

# %%
unwind("status")

# %%
unwind("check data")

# %% [markdown]
# The gap is found. A run does not fill it: the bars stay missing, nothing trades in them, and the market counts them.

# %%
store = Store(os.environ["UNWIND_DB"])
market = store.market("BTCUSDT", "5m", "2024-03-01", "2024-03-04")
market

# %%
for text in market.warnings:
    print("-", text)

# %%
run = simulate(market, exposure=2.0, venue="binance")
long = hold(market).to_frame()
figure = go.Figure()
figure.add_scatter(x=run.equity.index, y=100 * (run.equity / 10_000 - 1), name="long 2x, margined, with costs")
figure.add_scatter(x=long.index, y=100 * (long["equity"] / long["equity"].iloc[0] - 1), name="held, paid in full")
figure.update_layout(height=340, yaxis_title="profit, %")
figure

# %%
for text in (*run.warnings, *run.assumptions[:3]):
    print("-", text)

# %% [markdown]
# ## Without a store
#
# Frames that you have already become a market as they are. No store, no register of trials: for a quick look.

# %%
frame = pd.DataFrame({"ts": times, "open": opens, "high": candles["h"], "low": candles["l"], "close": close})
quick = Market.from_frames(
    frame, funding=rates.assign(ts=rates["time"], rate=rates["funding_rate"] / 100, interval_hours=8.0)
)
figure = go.Figure()
shown = quick.resample("15m")
figure.add_candlestick(
    x=shown.ts.astype("datetime64[ns]"), open=shown.open, high=shown.high, low=shown.low, close=shown.close,
    increasing_line_color=look.GREEN, decreasing_line_color=look.RED, name="15m",
)  # fmt: skip
figure.update_layout(height=360, xaxis_rangeslider_visible=False, hovermode="x", title=repr(quick))
figure

# %% [markdown]
# That is the whole road: [quickstart](01_quickstart.ipynb) with this market instead of the made-up one.
