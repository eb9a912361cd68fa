"""Strategies: market arrays in, signals and decisions out.

    strategies.signals  pure functions on arrays, one family a file
    strategies.<name>   one strategy a file

A strategy sees arrays only. It imports `backtest` and `data.schema`, `data.market`, `data.errors`;
it never opens a store and never calls an exchange.
"""
