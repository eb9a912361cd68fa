"""Crashes that have a name, with the figures that were published of them, and by whom.

    crashes()                     # a frame, one row a crash
    crashes().loc["2025-10-10"]

For comparison, not for fitting: the figures are of different venues, definitions and sources, and partly contradict
each other. Totals of liquidations from throttled feeds are lower bounds (from 2021-04-27 on, Binance's feed is one).
A figure that nobody published is missing, not zero. `note` says where sources disagree.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

NAN = float("nan")


@dataclass(frozen=True)
class Crash:
    """`fall`: of bitcoin, as a fraction. Money in billions of US dollars. `oi_after` / `oi_before`: see `oi_what`."""

    name: str
    start: str
    end: str
    fall: float
    fall_what: str
    liquidated: float
    longs: float
    oi_before: float
    oi_after: float
    oi_what: str
    cause: str
    sources: str
    note: str

    @property
    def destroyed(self) -> float:
        return 1.0 - self.oi_after / self.oi_before


CRASHES = (
    Crash(
        "2020-03-12", "2020-03-12", "2020-03-13", -0.50, "BTC in 24 hours", 4.1, NAN, NAN, NAN, "", "news",
        "LedgerPrime; The Block; Bybt",
        "BitMEX alone over 0.7 in the first leg; its perpetual went to 3,596, about 400 USD under spot; its insurance "
        "fund fell from 36,493 to 34,695 BTC in three days.",
    ),
    Crash(
        "2021-04-18", "2021-04-17", "2021-04-18", NAN, "", 10.1, NAN, NAN, NAN, "", "endogenous", "Bybt",
        "BTC 4.87 of it. The last large event with an unthrottled feed of Binance.",
    ),
    Crash(
        "2021-05-19", "2021-05-19", "2021-05-19", NAN, "BTC to about 30,000 USD", 8.6, NAN, NAN, NAN, "",
        "mixed", "Bybt; Arcane Research; BeInCrypto",
        "Published totals are 8 to 8.6, BTC 3.19, over 800,000 accounts. BTC open interest more than halved, to 12.34. "
        "Binance's feed was throttled by then, so the totals are too low.",
    ),
    Crash(
        "2021-09-07", "2021-09-07", "2021-09-07", -0.16, "BTC, 50,000 to 42,000 USD in 30 minutes", 3.2, NAN, 13.3,
        9.46, "BTC perpetuals", "endogenous", "Arcane Research; Glassnode",
        "At least 1.2 of it were BTC longs. Funding turned negative.",
    ),
    Crash(
        "2024-08-05", "2024-08-04", "2024-08-05", -0.16, "BTC; -11 to -16 % by source", 1.08, 0.86, 36.94, 26.65,
        "BTC futures, 31 July to 6 August", "news", "Coinglass; CoinDesk; Binance Square",
        "ETH fell by a quarter. 1.06 to 1.08 liquidated, 85 to 87 % of it longs, 275,000 accounts. All open interest "
        "-15 to -18.7 %.",
    ),
    Crash(
        "2025-10-10", "2025-10-10", "2025-10-11", -0.126, "BTC on Binance in 10 minutes", 19.13, 0.839, 217.0, 123.0,
        "all coins, all venues", "mixed", "Coinglass; Amberdata; CoinDesk Data; SSRN 6579278",
        "Coinglass counts 19.13 and 1.618 million accounts; Amberdata 9.89 in 14 hours, 6.93 of it between 20:50 and "
        "21:30 UTC and 3.21 in the minute of 21:15, 83.9 % longs. Hyperliquid's open interest went from 14 to 6; a "
        "replay of its chain has 5.51 liquidated and 2.10 deleveraged between 21:15 and 21:27. Others have -33.5 % for "
        "the open interest of four majors.",
    ),
    Crash(
        "2025-11-21", "2025-11-20", "2025-11-21", NAN, "", 2.0, NAN, NAN, NAN, "", "endogenous", "press reports",
        "About 2; no better figure found.",
    ),
)  # fmt: skip


def crashes() -> pd.DataFrame:
    """The catalogue as a frame, indexed by name. `cause` is what was commonly said, not measured."""
    import pandas as pd

    rows = [asdict(one) | {"destroyed": one.destroyed} for one in CRASHES]
    table = pd.DataFrame(rows).set_index("name")
    for day in ("start", "end"):
        table[day] = pd.to_datetime(table[day])
    return table
