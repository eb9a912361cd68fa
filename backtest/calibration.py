"""Every number of the cost models that somebody measured or chose, with its source, in one place.

Changing one changes results: `docs/costs.md` explains them, and a test holds that page to them.
"""

from __future__ import annotations

from typing import NamedTuple


class Calibrated(NamedTuple):
    value: float
    unit: str
    source: str


CASCADES = (
    "21 Binance USD-M perpetuals, 2023-01 to 2026-08, book snapshots every 30 s around 4,870 falls of 3 % in 15 "
    "minutes (github.com/min66633/liquidation-cascade-research, FINAL_REPORT.md and analysis/DEPTH_FINDINGS.md)"
)

Y = Calibrated(
    1.0,
    "",
    "0.9 with a spread of 0.35 over a million metaorders on MtGox (Donier and Bonart, arXiv:1412.4503); 1.07 for "
    "takers on Binance futures, from the study of cascades",
)
DELTA = Calibrated(
    0.5,
    "",
    "the square root holds over four decades of size (arXiv:1412.4503). Hyperliquid's metaorders show 0.3 "
    "(arXiv:2606.15715): try both",
)
HALF_SPREAD = Calibrated(
    0.25,
    "bp",
    "one tick of 0.5 bp on large altcoins (SOL, DOGE, XRP in 2025), half of it a side. Where the tick of the contract "
    "is known, half a tick is the least: 0.005 bp for BTC",
)
DEPTH_SHARE = Calibrated(
    0.005,
    "of a day's volume",
    "depth within 1 %, one side: 983,000 USD at 63 % of normal in the median of the study of cascades, whose median "
    "symbol traded about 0.3 billion a day. Before 2025-10-10: 0.006 to 0.016 for BTC, ETH, SOL, XRP and DOGE. The "
    "lower end",
)
WINDOW_HOURS = Calibrated(
    24.0, "hours", "volatility and volume of the square-root law are of one day (arXiv:1412.4503)"
)
WINDOW_BARS = Calibrated(
    12.0, "bars", "own choice: volatility from fewer returns is noise. For bars longer than 2 hours"
)
HISTORY_HOURS = Calibrated(1.0, "hours", "own choice: the least that is called a history, and at least 3 bars")
HISTORY_BARS = Calibrated(3.0, "bars", "own choice, see above")
UNKNOWN = Calibrated(
    25.0, "bp", "own choice: about what 500,000 USD pay one way in the median cascade (44.4 bp there and back)"
)

STRESS_SIGMAS = Calibrated(
    8.0,
    "standard deviations",
    "depth = normal / (1 + (z / 8)^2), z the move of 5 minutes. For five symbols of the study of cascades the median "
    "thinning follows 12.8 (1.4x at z = 7, 1.75x at 10, 2.4x at 15, 6.1x above 20), the worst tenth 6 (2.9x, 5.2x, 8x, "
    "34x). 8 lies between them: 64 % of normal at z = 6, where it measured 63 % after falls of 3 % in 15 minutes, and "
    "3.3x at z = 12, against 3.4x in its median liquidation event",
)
STRESS_MINUTES = Calibrated(5.0, "minutes", "the bars that thinning was measured on; one bar, where bars are longer")
STRESS_LIQUIDATIONS = Calibrated(
    1.7,
    "",
    "(3.4 - 1) / 1.41: a thinning of 3.4 where open interest worth 1.41 times the depth was closed in 5 minutes, the "
    "medians of liquidation events in the study of cascades. Not all of that was forced, and feeds show less than was",
)
STRESS_HALF_LIFE = Calibrated(
    20.0,
    "minutes",
    "inferred: books were back 30 to 60 minutes after extreme imbalance (Amberdata), half-life 15 to 30 minutes",
)
STRESS_DEPTH_FLOOR = Calibrated(
    0.01, "of normal", "BTC had 1/109 to 1/114 of its depth at the worst minute of 2025-10-10, ETH and SOL less"
)
STRESS_VOLUME_FLOOR = Calibrated(
    0.025,
    "of normal",
    "liquidations had 4 to 6.5 times the square-root impact of other flow (study of cascades): 1 / 6.3^2",
)

ALL = {name: number for name, number in globals().items() if isinstance(number, Calibrated)}

ROUND_TRIPS = {50_000: 4.4, 100_000: 8.9, 250_000: 22.2, 500_000: 44.4, 1_000_000: 87.0}
"""Basis points for a market order of so many USD in the minute after a fall of 3 % in 15 minutes, and another one back
15 to 60 minutes later: medians of walking the recorded books, without fees. A book that stands still is the least that
such an order costs, says the same study. Source: CASCADES."""
