"""What a strategy needs of a market and does not find there, and which table to bring in for it.

    missing(FundingSqueeze, market)         # {"open_interest": "open_interest"}: field -> table; {} is all there
    check(FundingSqueeze(), market)         # BadInput, in one line, if something is missing

`Strategy.needs` names fields of `data.market`. Open interest counts as held in coins or in money: one is the other
times the price.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backtest.strategy import Strategy
from data.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from data.market import Market

TABLES = {  # field -> the table that it is made of
    **dict.fromkeys(("mark_open", "mark_high", "mark_low", "mark_close"), "candles (price mark)"),
    "index": "candles (price index)",
    "premium": "candles (price premium)",
    "funding_8h": "funding",
    **dict.fromkeys(("open_interest", "open_interest_value"), "open_interest"),
    **dict.fromkeys(("liq_long", "liq_short"), "liquidations"),
    **dict.fromkeys(("ratio_accounts", "ratio_top_accounts", "ratio_top_positions", "taker_ratio"), "ratios"),
    **dict.fromkeys(("bid_depth_1pct", "ask_depth_1pct"), "depth"),
}
HELD_TOO = {"open_interest": "open_interest_value", "open_interest_value": "open_interest"}


def table_of(field: str) -> str:
    """The table that a field of a market is made of, in words for a message."""
    return TABLES.get(field, "candles")


def missing(strategy: Strategy | type[Strategy], market: Market) -> dict[str, str]:
    """Fields that the strategy names and the market does not hold, each with its table."""
    held = set(market.held)
    return {name: table_of(name) for name in _needs(strategy) if not {name, HELD_TOO.get(name, name)} & held}


def tables(strategy: Strategy | type[Strategy]) -> tuple[str, ...]:
    """The tables that a strategy lives on; candles first, which all of them need."""
    return tuple(dict.fromkeys(["candles", *(table_of(name) for name in _needs(strategy))]))


def check(strategy: Strategy | type[Strategy], market: Market) -> None:
    """Refuse a market that lacks something."""
    if lacking := missing(strategy, market):
        cls = strategy if isinstance(strategy, type) else type(strategy)
        what, where = ", ".join(lacking), ", ".join(dict.fromkeys(lacking.values()))
        raise BadInput(
            f"{cls.__name__} needs {what}, which this market does not hold: bring in {where} with `unwind fetch` or "
            "`unwind import`"
        )


def _needs(strategy: Strategy | type[Strategy]) -> tuple[str, ...]:
    from data.market import FIELDS

    cls = strategy if isinstance(strategy, type) else type(strategy)
    for name in cls.needs:
        if name not in FIELDS:
            raise BadInput(f"{cls.__name__}.needs: a market has no {name}: {did_you_mean(name, FIELDS)}")
    return cls.needs
