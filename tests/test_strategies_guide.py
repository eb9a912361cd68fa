"""docs/strategy_guide.md and docs/scoreboard.md: what they say runs, and nobody is left out."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
from strategy_markets import perps

from backtest.strategy_lookup import available

DOCS = Path(__file__).resolve().parents[1] / "docs"
GUIDE = (DOCS / "strategy_guide.md").read_text(encoding="utf-8")
SCORES = (DOCS / "scoreboard.md").read_text(encoding="utf-8")


def test_the_python_of_the_guide_runs() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 2
    names: dict[str, Any] = {"perpetual": perps(1500)}
    for block in blocks:
        exec(block, names)
        assert np.isfinite(names.pop("result").run.series["equity"]).all()


def test_every_strategy_is_in_the_guide_and_on_the_scoreboard() -> None:
    """Also those that lose, and those that could not be run: then with the reason."""
    tables = [part for part in re.split(r"^### ", SCORES, flags=re.MULTILINE)[1:] if "| strategy |" in part]
    assert tables
    for name in available("strategies"):
        assert f"`{name}`" in GUIDE
        for part in tables:
            assert re.search(rf"\b{name}\b", part), (name, part.partition("\n")[0])
