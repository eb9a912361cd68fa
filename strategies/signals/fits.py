"""What all fitted signals share: when a model is fitted anew, and what to say where its library is missing.

A fitted signal is computed as one would have had it: at certain closes the model is fitted on what was known by then,
and until the next of them only its filter runs on. Nothing is ever smoothed with later bars.
"""

from __future__ import annotations

from collections.abc import Iterator

from data.errors import UnwindError


def refits(n: int, first: int, every: int) -> Iterator[tuple[int, int]]:
    """The bars after whose close a model is fitted, each with the bar of the next: it speaks for [bar, next)."""
    for bar in range(first, n, every):
        yield bar, min(bar + every, n)


def not_installed(package: str) -> UnwindError:
    """What is raised where a statistics library cannot be imported."""
    return UnwindError(f"{package} is not installed: pip install {package}")
