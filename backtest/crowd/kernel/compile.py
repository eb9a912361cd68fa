"""`jit` of the simulated venue: stale when one of its own files, or the margin or venue rules, has changed."""

from __future__ import annotations

from backtest.jit import stamped

jit = stamped("jit.py", "margin.py", "rules.py", "crowd/kernel/*.py")
