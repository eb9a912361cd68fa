"""What a strategy is made of: an edit anywhere in it is another one, and nothing else is."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from backtest import Strategy
from backtest.origin import source_of

HEAD = """
import functools
from dataclasses import dataclass
import numpy as np
from backtest import Strategy

EDGE = 0.5
LENGTHS = [3, 5]
SCALE = np.array([1.0, 2.0])
CACHE = {}
CALLS = 0

@dataclass
class Model:
    window: int = 5
    def of(self, values):
        return values * self.window

MODEL = Model()

def inner(values):
    return values - EDGE

def helper(values):
    return inner(values) * SCALE[0]

class Base(Strategy):
    SHIFT = 1
    def features(self, market):
        return {"r": np.asarray(market.close) * 1.0}

class One(Base):
    length: int = 6
    def features(self, market):
        '''What it says.'''
        global CALLS
        CALLS += 1
        CACHE[self.length, 1] = CACHE.get(self.length)
        found = super().features(market)["r"]
        parts = [helper(found) / n for n in LENGTHS]
        return {"r": MODEL.of(sum(parts)) + self.SHIFT + self._more()}
    def _more(self):
        return 2.0
    @property
    def warmup(self):
        return self.length * 2
    @staticmethod
    def decide(r):
        return r
"""


def made(text: str) -> type[Strategy]:
    names: dict[str, Any] = {"__name__": "a_notebook"}
    exec(compile(text, "<a cell>", "exec", dont_inherit=True), names)
    return names["One"]  # type: ignore[no-any-return]


def of(text: str) -> str:
    return source_of(made(text)(), "decides")


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        ("EDGE = 0.5", "EDGE = 0.25"),
        ("LENGTHS = [3, 5]", "LENGTHS = [3, 6]"),
        ("np.array([1.0, 2.0])", "np.array([1.0, 3.0])"),
        ("values - EDGE", "values + EDGE"),
        ("* SCALE[0]", "* SCALE[1]"),
        ("SHIFT = 1", "SHIFT = 2"),
        ("return 2.0", "return 3.0"),
        ("market.close) * 1.0", "market.close) * 2.0"),
        ("self.length * 2", "self.length * 3"),
        ("window: int = 5", "window: int = 6"),
        ("Model()", "Model(7)"),
        ("values * self.window", "values / self.window"),
        ("CACHE.get(self.length)", "CACHE.get(self.length, 1)"),
    ],
)
def test_an_edit_of_anything_that_features_rest_on_is_seen(what: str, instead: str) -> None:
    assert HEAD.count(what) == 1
    assert of(HEAD.replace(what, instead)) != of(HEAD)


@pytest.mark.parametrize(
    ("what", "instead"),
    [
        ("What it says.", "What else it says."),
        ("def helper(values):", "def helper(values):\n    # a word"),
        ("CACHE = {}", "CACHE = {(6, 1): 4.0}"),
        ("CALLS = 0", "CALLS = 9"),
        ("EDGE = 0.5", "EDGE = 0.5\nUNUSED = 1"),
    ],
)
def test_words_caches_and_what_nobody_names_are_no_edit(what: str, instead: str) -> None:
    assert of(HEAD.replace(what, instead)) == of(HEAD)


def test_running_it_changes_nothing_though_it_fills_what_stands_around_it() -> None:
    one = made(HEAD)()
    before = source_of(one, "decides")

    class Market:
        close = np.array([1.0, 2.0])

    one.features(Market())  # type: ignore[arg-type]
    assert source_of(one, "decides") == before
    assert source_of(one.replace(length=7), "decides") == before  # a set is no edit
    assert source_of(one, "decides otherwise") != before


def test_it_is_the_same_in_every_process(tmp_path: Path) -> None:
    """Sets of texts have another order in each."""
    text = HEAD.replace("return 2.0", "return 2.0 if 'a' in {'a', 'b', 'c', 'd'} else 1.0")
    script = tmp_path / "say.py"
    script.write_text(
        f"from backtest.origin import source_of\nnames = {{'__name__': 'a_notebook'}}\n"
        f"exec(compile({text!r}, '<a cell>', 'exec'), names)\nprint(source_of(names['One'](), 'decides'))\n"
    )
    root = str(Path(__file__).parents[1])
    for seed in ("1", "2"):
        said = subprocess.run(
            [sys.executable, str(script)], capture_output=True, text=True, check=True, cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root},
        )  # fmt: skip
        assert said.stdout.strip() == of(text)


@dataclass(frozen=True)
class Plainly:
    parts: tuple[Any, ...]


def test_names_around_a_class_that_was_made_in_a_function_are_seen() -> None:
    def make(edge: float, table: Mapping[str, Any], part: type[Strategy]) -> type[Strategy]:
        kept = Plainly((part,))

        class Inner(Strategy):
            def features(self, market: Any) -> dict[str, Any]:
                assert kept
                return {"r": np.asarray(market.close) * edge + table["a"]}

            @staticmethod
            def decide(r: float) -> float:
                return r

        return Inner

    one, other = made(HEAD), made(HEAD.replace("EDGE = 0.5", "EDGE = 0.25"))
    first = source_of(make(1.0, {"a": 1}, one)(), "x")
    assert first == source_of(make(1.0, {"a": 1}, one)(), "x")
    assert first != source_of(make(2.0, {"a": 1}, one)(), "x")
    assert first != source_of(make(1.0, {"a": 2}, one)(), "x")
    assert first != source_of(make(1.0, {"a": 1}, other)(), "x")
