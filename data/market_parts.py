"""Parts of a market: fewer bars, fewer symbols, and what was known by its end.

A part holds nothing that became known only after its last bar: no listing or delisting, no maintenance brackets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import clock
from data.align import EXACT, STOOD_IN
from data.market_build import Laid

Array = NDArray[Any]

_TOLD = ("listed", "delisted", "renamed_to")  # what becomes of a contract; its other terms are the venue's rules


def cut(laid: Laid, first: int, stop: int) -> Laid:
    """The bars [first, stop): views of the same arrays."""
    rows = slice(first, stop)

    def inside(a: Array) -> Array:
        low, high = np.searchsorted(a["bar"], [first, stop])
        kept = a[low:high].copy()
        kept["bar"] -= first
        return kept

    part = replace(
        laid,
        grid=laid.grid.cut(first, stop),
        fields={name: a[rows] for name, a in laid.fields.items()},
        present=laid.present[rows],
        partial=None if laid.partial is None else laid.partial[rows],
        mark_source=laid.mark_source[rows],
        stale={name: a[rows] for name, a in laid.stale.items()},
        settlements=inside(laid.settlements),
        versions=inside(laid.versions),
        lacking=inside(laid.lacking),
        outside={s: at[(at >= first) & (at < stop)] - first for s, at in laid.outside.items()},
    )
    return known_by(part, part.grid.end)


def chosen(laid: Laid, picked: Sequence[int]) -> Laid:
    """Some of the symbols, by their numbers, in this order."""
    column = picked[0] if len(picked) == 1 else list(picked)
    place = np.full(len(laid.symbols), -1, dtype=np.int32)
    place[picked] = np.arange(len(picked))

    def rows(a: Array) -> Array:
        kept = a[np.isin(a["symbol"], picked)]
        kept["symbol"] = place[kept["symbol"]]
        return kept

    names = tuple(laid.symbols[j] for j in picked)
    return replace(
        laid,
        symbols=names,
        fields={name: a[:, column] for name, a in laid.fields.items()},
        present=laid.present[:, column],
        partial=None if laid.partial is None else laid.partial[:, column],
        mark_source=laid.mark_source[:, column],
        stale={name: a[:, column] for name, a in laid.stale.items()},
        settlements=rows(laid.settlements),
        versions=rows(laid.versions),
        lacking=rows(laid.lacking),
        tiers=rows(laid.tiers),
        instruments={s: i for s, i in laid.instruments.items() if s in names},
        feeds={s: f for s, f in laid.feeds.items() if s in names},
        outside={s: c for s, c in laid.outside.items() if s in names},
    )


def for_features(laid: Laid) -> Laid:
    """The same market without what only the engine may know; see `Market.features_view`."""
    exact = laid.mark_source == EXACT
    fields = dict(laid.fields)
    if not exact.all():
        for price in ("open", "high", "low", "close"):
            mark, trade = laid.fields.get(f"mark_{price}"), laid.fields.get(price)
            if mark is not None and mark is not trade:
                fields[f"mark_{price}"] = np.where(exact, mark, np.nan if trade is None else trade)
    source = np.where(exact, EXACT, STOOD_IN).astype(np.uint8)
    seen = replace(laid, fields=fields, mark_source=source, settlements=laid.versions)
    return known_by(seen, laid.grid.end)


def known_by(laid: Laid, end: int) -> Laid:
    """Without the terms and brackets that became known at `end` or later."""
    tiers = laid.tiers
    late = (tiers["known_at"] >= end) | (tiers["valid_from"] >= end)
    instruments = {symbol: _terms(terms, end) for symbol, terms in laid.instruments.items()}
    return replace(laid, tiers=tiers[~late] if late.any() else tiers, instruments=instruments)


def _terms(terms: Mapping[str, Any], end: int) -> Mapping[str, Any]:
    late = [name for name in _TOLD if terms.get(name) is not None and _known(terms, name) >= end]
    blank = [name for event in late for name in (event, f"{event}_known_at") if name in terms]
    return {**terms, **dict.fromkeys(blank)} if blank else terms


def _known(terms: Mapping[str, Any], name: str) -> int:
    """When a term was known: when it was told, else when the terms were, else when it came about."""
    for column in (f"{name}_known_at", "known_at", "valid_from", name):
        when = terms.get(column) if column != "renamed_to" else None
        if when is not None and when == when:
            return clock.moment(when)
    return np.iinfo(np.int64).max
