"""Import every file of the folder of real market files, by the commands that a user would type.

    python tests/real_data/import_all.py ../shared/market_data --db real.duckdb

`COMMANDS` is the documentation: one command a line, with `$DATA` for the folder. Lags say when a row was
known, where the files do not:

* Hyperliquid's hourly open interest moves with the price of the hour that it is stamped at the *open* of,
  so it is known an hour later. Binance's and the daily snapshots go with the price at their stamp.
* Taker volumes are sums over the quarter of an hour that begins at their stamp; the other ratios are snapshots.
* An event of the force-order stream may be held back for a second.
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

COMMANDS = """
import file $DATA/candles/binance_1h.parquet --table candles --price trade --venue binance
import file $DATA/candles/binance_5m.parquet --table candles --price trade --venue binance --interval 5m
import file $DATA/candles/binance_1m.parquet --table candles --price trade --venue binance
import file $DATA/candles/binance_4h_80symbols.parquet --table candles --price trade --venue binance
import file $DATA/mark/binance_1h.parquet $DATA/mark/binance_8h.parquet --table candles --price mark --venue binance

import file $DATA/funding/binance.parquet --table funding --map rate=funding_rate --venue binance
import file $DATA/funding/hyperliquid_1h.parquet --table funding --map rate=funding_rate --venue hyperliquid

import file $DATA/open_interest/hyperliquid_1h.parquet --table open_interest --venue hyperliquid --lag 1h \
    --map value=oi_usd
import file $DATA/open_interest/binance_4h.parquet --table open_interest --venue binance --lag 5m \
    --map quantity=sum_open_interest,value=sum_open_interest_value
import file $DATA/open_interest/btc_all_venues_1d.parquet --table open_interest --map value=oi_usd \
    --venue coinglass --symbol BTC --lag 1h

import file $DATA/liquidations/coinglass_btc_panel_1h.parquet --preset coinglass
import file $DATA/liquidations/binance_force_orders.parquet --preset binance-force-orders

import file $DATA/ratios/binance_15m_btc_eth.parquet --table ratios --kind top_accounts --venue binance --lag 5m \
    --map ratio=top_ls_acc_ratio,long=top_ls_acc_long,short=top_ls_acc_short
import file $DATA/ratios/binance_15m_btc_eth.parquet --table ratios --kind top_positions --venue binance --lag 5m \
    --map ratio=top_ls_pos_ratio,long=top_ls_pos_long,short=top_ls_pos_short
import file $DATA/ratios/binance_15m_btc_eth.parquet --table ratios --kind accounts --venue binance --lag 5m \
    --map ratio=global_ls_ratio,long=global_ls_long,short=global_ls_short
import file $DATA/ratios/binance_15m_btc_eth.parquet --table ratios --kind taker_volume --venue binance --lag 15m \
    --map ratio=taker_buy_sell_ratio,long=taker_buy_vol,short=taker_sell_vol

import file $DATA/leverage_tiers/binance_history.parquet --table tiers --venue binance \
    --map ts=ts,floor=min_notional,cap=max_notional,mmr=maint_margin_rate
import tiers $DATA/leverage_tiers/binance_2024-10-24.json.gz --venue binance

import file $DATA/adl/hyperliquid_2025_10_10_clusters.parquet --table adl --venue hyperliquid \
    --map symbol=coin,event_id=cluster_id,ended=t_end,known_at=t_end,deficit=deficit_usd,capacity=total_capacity_usd \
    --map notional=budget_queue_usd,overshoot=overshoot_queue_usd,residual=residual_queue_usd
"""


def commands(folder: Path) -> Iterator[list[str]]:
    """The words of each command, with the folder filled in."""
    for line in COMMANDS.replace("\\\n", " ").splitlines():
        if line.strip():
            yield [word.replace("$DATA", str(folder)) for word in shlex.split(line)]


def import_all(folder: Path, db: Path) -> None:
    """Run them all in this process; the first that fails ends it."""
    from backtest.cli import main

    for words in commands(folder):
        print("$ unwind", shlex.join(words))  # noqa: T201
        if code := main([*words, "--db", str(db)]):
            raise SystemExit(code)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--db", type=Path, default=Path("real.duckdb"))
    given = parser.parse_args()
    import_all(given.folder, given.db)
    sys.exit(0)
