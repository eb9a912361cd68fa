"""Small simulated venues in which much happens soon, and what hits them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from backtest.crowd.world import Coin, Crowd, Policy, World
from backtest.venue import Venue, venue

VENUES = ("binance", "bybit", "okx", "hyperliquid", "dydx", "deribit", "bitmex", "gate", "sim")


def linear(name: str) -> Venue:
    """A profile by name. Deribit and BitMEX list inverse contracts: their rules, with tiers of the simulated venue."""
    profile = venue(name)
    if profile.contract == "linear":
        return profile
    return replace(profile, contract="linear", tiers=venue("sim").tiers, tables=(), tier_rule="marginal")


def quick_world(
    where: Venue | None = None, policy: Policy | None = None, *, depth: float = 3e6, accounts: int = 150,
    ticks: int = 3, crowd: Crowd | None = None, **more: Any,
) -> World:  # fmt: skip
    """Everybody looks every few minutes and opens a position with much leverage; no money in the book to speak of."""
    eager = Crowd(
        accounts=accounts, funds=2, fast_look_hours=0.1, slow_look_hours=0.5, entry=1.0, largest=0.5, slice=0.5,
        leverage=((5.0, 1.0), (20.0, 1.0)), fast_leverage=((20.0, 1.0), (50.0, 1.0), (100.0, 1.0)),
    )  # fmt: skip
    coin, place = Coin(depth=depth), where or venue("sim")
    return World(coin=coin, crowd=crowd or eager, policy=policy or Policy(), venue=place, ticks=ticks, **more)


def noise(count: int, seed: int) -> np.ndarray:
    """What comes from outside on a day without news: small moves, and moods that stay as they are."""
    rng = np.random.default_rng([seed, 1])
    path = np.zeros((count, 5))
    path[:, 0] = 0.002 * rng.standard_normal(count)
    path[:, 1] = 0.001
    path[:, 3:] = rng.standard_normal(2)
    return path


def shocks(count: int, seed: int, each: int = 12, largest: float = 0.2) -> np.ndarray:
    """No noise within steps; a jump in every dozen of them, either way."""
    rng = np.random.default_rng([seed, 2])
    path = noise(count, seed)
    path[:, 1] = 0.0
    for k in range(3, count, each):
        path[k, 0] += rng.choice((-1.0, 1.0)) * largest * rng.uniform(0.1, 1.0)
    return path
