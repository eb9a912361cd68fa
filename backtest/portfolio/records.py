"""What the rows of a portfolio look like: vectorbt records with the columns that trading on margin adds."""

from __future__ import annotations

from typing import Any

from vectorbt.portfolio.trades import EntryTrades, ExitTrades, Positions, Trades
from vectorbt.records.base import Records
from vectorbt.records.decorators import override_field_config
from vectorbt.utils.config import Config

from backtest.portfolio import rows
from backtest.portfolio.figures import plainly
from backtest.records import Cash, Why


def _words(kinds: Any) -> dict[int, str]:
    return {int(kind): kind.name.lower() for kind in kinds}


def _config(dtype: Any, titles: dict[str, dict[str, Any]]) -> Any:
    return Config({"dtype": dtype, "settings": titles}, readonly=True, as_attrs=False)


_WHY: dict[str, Any] = {"title": "Why", "mapping": _words(Why)}
_TRADES: dict[str, dict[str, Any]] = {"funding": {"title": "Funding"}, "insurance": {"title": "Insurance"}, "why": _WHY}


@override_field_config(
    _config(
        rows.FLOW,
        {
            "kind": {"title": "Kind", "mapping": _words(Cash)},
            "amount": {"title": "Amount"},
            "account": {"title": "Of The Account", "mapping": {0: "no", 1: "yes"}},
        },
    )
)
class Flows(Records):
    """Every movement of cash: the ledger."""

    @property
    def field_config(self) -> Any:
        return self._field_config


@override_field_config(
    _config(
        rows.FILL,
        {
            "why": _WHY,
            "quantity": {"title": "Quantity"},
            "price": {"title": "Price"},
            "fee": {"title": "Fee"},
            "profit": {"title": "Profit"},
            "slippage": {"title": "Slippage"},
            "position": {"title": "Position After"},
        },
    )
)
class Fills(Records):
    """Fills as the run wrote them: signed quantities and prices of the contract, the reason, what slippage cost."""

    @property
    def field_config(self) -> Any:
        return self._field_config


@override_field_config(
    _config(
        rows.LIQUIDATION,
        {
            "why": _WHY,
            "quantity": {"title": "Quantity"},
            "trigger": {"title": "Mark"},
            "price": {"title": "Price"},
            "bankruptcy": {"title": "Bankruptcy Price"},
            "fee": {"title": "Fee"},
            "insurance": {"title": "Insurance"},
            "loss": {"title": "Loss"},
        },
    )
)
class Liquidations(Records):
    """Liquidations, partial ones included."""

    @property
    def field_config(self) -> Any:
        return self._field_config


class _Drawn:
    """Pictures of trades, thinned, on any background. (vectorbt looks up which arguments they take.)"""

    plot = plainly(Trades.plot)
    plot_pnl = plainly(Trades.plot_pnl)


@override_field_config(_config(rows.TRADE, _TRADES))
class PerpPositions(_Drawn, Positions):
    """Flat to flat; profit after fees, funding and insurance."""


@override_field_config(_config(rows.TRADE, _TRADES))
class PerpExitTrades(_Drawn, ExitTrades):
    """One for each fill that closed something, with its share of what the position cost until then."""


@override_field_config(_config(rows.TRADE, _TRADES))
class PerpEntryTrades(_Drawn, EntryTrades):
    """One for each fill that opened something, with its share of what the position cost."""
