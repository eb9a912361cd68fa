"""How many examples a property is tried on."""

from __future__ import annotations

import os


def many(examples: int) -> int:
    """So many where each run draws others; half of them in CI, which draws the same ones every time."""
    return examples // 2 if os.environ.get("HYPOTHESIS_PROFILE") == "ci" else examples
