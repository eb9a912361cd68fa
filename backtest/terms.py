"""Under which rules a run trades: the market's venue, the account, the costs, or what stands in for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from backtest.account import Account
from backtest.costs import Costs
from backtest.strategy import Strategy
from backtest.venue import Venue
from data.errors import BadInput

if TYPE_CHECKING:
    from data.market import Market


@dataclass(frozen=True)
class Terms:
    venue: Venue
    account: Account
    costs: Costs
    notes: tuple[str, ...] = ()


def check_market(market: Any, name: str) -> None:
    if not hasattr(market, "features_view"):
        kind = type(market).__name__
        raise BadInput(f"{name} is a {kind}, no Market: build one with Store.market(...) or Market.from_frames(...)")


def terms_of(market: Market, venue: Venue | str | None, account: Account | None, costs: Costs | None) -> Terms:
    notes: list[str] = []
    if venue is not None and not isinstance(venue, Venue | str):
        raise BadInput(f'venue={venue!r}: write a name such as "binance", or a Venue(...)')
    profile = venue if isinstance(venue, Venue) else _profile(market, venue, notes)
    if account is not None and not isinstance(account, Account):
        raise BadInput(f"account={account!r}: write Account(equity=10_000, leverage=3), say")
    if costs is None:
        held = set(market.held) & {"volume", "quote_volume"}
        costs = Costs.impact() if held else Costs.fixed(Costs.impact().half_spread_bps)
    if not isinstance(costs, Costs):
        raise BadInput(f"costs={costs!r}: write Costs.impact(), Costs.fixed(2) or Costs.none()")
    return Terms(profile, account or Account(), costs, tuple(notes))


def _profile(market: Market, name: str | None, notes: list[str]) -> Venue:
    from backtest.venue import venue as named

    contract: Any = "inverse" if _contract(market) == "inverse" else None
    if name is not None:
        return named(name, contract)
    try:
        return named(market.venue, contract)
    except BadInput:
        notes.append(
            f"no profile of a venue called {market.venue!r}: the rules of Binance hold; give venue=... for others"
        )
        return named("binance", contract)


def _contract(market: Market) -> str:
    """What the first symbol is: by its terms, else by its name (BTC/USD:BTC is paid in its base)."""
    symbol = market.symbols[0]
    terms = market.instrument(symbol).get("contract")
    if terms:
        return str(terms)
    base, _, rest = symbol.partition("/")
    return "inverse" if ":" in rest and rest.split(":")[1].split("-")[0] == base else "linear"


def check_alone(cls: type[Strategy], what: str) -> None:
    """Several strategies together keep books of their own, which no other `decide` can be put around."""
    if cls._inside:
        raise BadInput(
            f"{cls.__name__} is several strategies together, which cannot be {what}: do that to each of them alone, "
            "and put the results together"
        )


def instance(strategy: Strategy | type[Strategy]) -> Strategy:
    if isinstance(strategy, type) and issubclass(strategy, Strategy):
        return strategy()
    if isinstance(strategy, Strategy):
        return strategy
    raise BadInput(f"{strategy!r} is no strategy: give a Strategy, or your own numbers as exposure=...")


def cores() -> int:
    import os

    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
