"""Coarser bars of a whole market: only buckets that are complete.

First open, highest high, lowest low and last close of the bars that have one; sums of what traded; liquidations are
summed only where every bar was covered; everything known as of a time is the value at the bucket's last bar. A bucket
that lacks bars is there as long as it has one, and is marked as partial.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from data import align, clock
from data.align import EXACT, STOOD_IN, Floats, Grid
from data.errors import BadInput
from data.market_build import Laid
from data.market_input import SUMS
from data.market_parts import known_by

Array = NDArray[Any]


def coarser(laid: Laid, interval: int) -> Laid:
    grid, first, ratio = _buckets(laid.grid, interval)
    stop = first + grid.n * ratio

    def blocks(a: Array) -> Array:
        return a[first:stop].reshape(grid.n, ratio, *a.shape[1:])

    def last_bar(a: Array) -> Array:
        return np.ascontiguousarray(blocks(a)[:, -1])

    def rows(a: Array) -> Array:
        kept = a[(a["bar"] >= first) & (a["bar"] < stop)]
        kept["bar"] = (kept["bar"] - first) // ratio
        return kept

    fields = {name: _RULES.get(name, _last_bar)(blocks(a)) for name, a in laid.fields.items()}
    source = laid.mark_source
    if "mark_close" in laid.fields:
        marked = ~np.isnan(laid.fields["mark_close"])
        weakest = blocks(np.where(marked, source, EXACT)).min(axis=1)
        source = np.where(blocks(marked).any(axis=1), weakest, STOOD_IN).astype(np.uint8)
    else:
        source = last_bar(source)
    present = np.asarray(blocks(laid.present).any(axis=1))
    whole = laid.present if laid.partial is None else laid.present & ~laid.partial
    partial = present & ~blocks(whole).all(axis=1)
    coarse = replace(
        laid,
        grid=grid,
        fields=fields,
        present=present,
        partial=partial if partial.any() else None,
        mark_source=source,
        stale={name: last_bar(a) for name, a in laid.stale.items()},
        settlements=rows(laid.settlements),
        versions=rows(laid.versions),
        lacking=rows(laid.lacking),
        outside={s: (at[(at >= first) & (at < stop)] - first) // ratio for s, at in laid.outside.items()},
    )
    return known_by(coarse, grid.end)


def _buckets(grid: Grid, interval: int) -> tuple[Grid, int, int]:
    """The whole buckets inside a grid, the bar that the first one begins with, and how many bars make one."""
    if interval < grid.step or interval % grid.step:
        ours, asked = clock.label(grid.step), clock.label(interval)
        raise BadInput(f"{ours} bars do not add up to {asked}: choose a multiple of {ours}")
    coarse = align.grid_of(interval, grid.start, grid.end)
    return coarse, (coarse.start - grid.start) // grid.step, interval // grid.step


def _first(blocks: Floats) -> Floats:
    return _pick(blocks, 0)


def _last(blocks: Floats) -> Floats:
    return _pick(blocks[:, ::-1], 0)


def _pick(blocks: Floats, at: int) -> Floats:
    """The first value of each bucket that is not missing."""
    front = np.array(blocks[:, at])
    if np.isnan(front).any():
        where = np.argmax(~np.isnan(blocks), axis=1)
        front = np.take_along_axis(blocks, np.expand_dims(where, 1), axis=1)[:, 0]
    return np.ascontiguousarray(front)


def _highest(blocks: Floats) -> Floats:
    return np.asarray(np.fmax.reduce(blocks, axis=1))


def _lowest(blocks: Floats) -> Floats:
    return np.asarray(np.fmin.reduce(blocks, axis=1))


def _traded(blocks: Floats) -> Floats:
    """The sum of what is there; missing where nothing is."""
    there = ~np.isnan(blocks)
    return np.where(there.any(axis=1), _whole_sum(np.where(there, blocks, 0.0)), np.nan)


def _whole_sum(blocks: Floats) -> Floats:
    """Bar by bar, so that one symbol alone and among many gives the same bits."""
    total = np.array(blocks[:, 0])
    for j in range(1, blocks.shape[1]):
        total += blocks[:, j]
    return total


def _last_bar(blocks: Floats) -> Floats:
    return np.ascontiguousarray(blocks[:, -1])


_RULES: dict[str, Callable[[Floats], Floats]] = {
    **{f"{kind}open": _first for kind in ("", "mark_")},
    **{f"{kind}high": _highest for kind in ("", "mark_")},
    **{f"{kind}low": _lowest for kind in ("", "mark_")},
    **{f"{kind}close": _last for kind in ("", "mark_")},
    **dict.fromkeys(SUMS, _traded),
    "liq_long": _whole_sum,
    "liq_short": _whole_sum,
}
