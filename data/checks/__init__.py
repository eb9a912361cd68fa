"""The checks behind data.quality, one function each: candles, funding, tiers, feeds.

A check is a generator of `Fault`s. Its docstring is its rule, which begins with its level; data.quality lists them.
"""
