"""How a walk-forward walks: lengths of windows, what is looked for, what has to hold in sample."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from backtest import metrics, splits
from backtest.given import is_whole
from backtest.sweep import check_measure
from data import clock
from data.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    from data.market import Market

_CALENDAR = re.compile(r"(mo|q|y)\s*$", re.IGNORECASE)
_CLAUSE = re.compile(r"^\s*([a-z_0-9.]+)\s*(==|!=|>=|<=|>|<)\s*([-+0-9.eE]+|inf|-inf)\s*$")
_HOLDS: dict[str, Callable[[Any, float], Any]] = {
    "==": lambda a, b: a == b,
    "!=": lambda a, b: a != b,
    ">=": lambda a, b: a >= b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    "<": lambda a, b: a < b,
}


@dataclass(frozen=True)
class Clause:
    """A measure compared with a number: "trades >= 10". A measure that is NaN fulfils nothing."""

    name: str
    sign: str
    number: float

    @classmethod
    def of(cls, text: str, names: Sequence[str]) -> Clause:
        match = _CLAUSE.match(text) if isinstance(text, str) else None
        if match is None:
            raise BadInput(f"{text!r} is no requirement: write a measure, a sign and a number, such as trades >= 10")
        name, sign, number = match.groups()
        if name not in names:
            raise BadInput(f"requirement {text!r}: no measure {name!r}, {did_you_mean(name, names)}")
        try:
            return cls(name, sign, float(number))
        except ValueError:
            raise BadInput(f"requirement {text!r}: {number!r} is no number") from None

    def holds(self, values: Any) -> Any:
        return _HOLDS[self.sign](values, self.number)

    def __str__(self) -> str:
        return f"{self.name} {self.sign} {self.number:g}"


@dataclass(frozen=True)
class Plan:
    """How to walk. Lengths are durations ("180d"), or, all of them, periods of the calendar ("6mo", "1q", "1y").

    test       how long a fit is used before the next: the schedule of refits
    validate   a window between train and test on which one of the first `keep` sets is chosen
    purge      left out before every window that follows a fit: at least the longest holding time; "": nothing
    """

    train: str = "180d"
    test: str = "30d"
    validate: str | None = None
    anchored: bool = False
    purge: str = ""
    objective: str = "sharpe"
    require: tuple[str, ...] = ()
    choose: Literal["best", "plateau"] = "best"
    keep: int = 10
    ensemble: int = 1
    partial: bool = True  # a last, shorter test window is traded too

    def __post_init__(self) -> None:
        check_measure(self.objective)
        if self.choose not in ("best", "plateau"):
            raise BadInput(f"choose={self.choose!r}: {did_you_mean(str(self.choose), ('best', 'plateau'))}")
        for name in ("keep", "ensemble"):
            if not (is_whole(getattr(self, name)) and getattr(self, name) >= 1):
                raise BadInput(f"{name}={getattr(self, name)!r}: write a whole number from 1 up")
        require: Any = self.require
        if isinstance(require, str):
            raise BadInput(f'require={require!r}: write a list of requirements, such as ("{require}",)')
        object.__setattr__(self, "require", tuple(self.require))
        for name in ("train", "test", "validate", "purge"):
            _check_length(name, getattr(self, name))
        _ = self.clauses

    @property
    def clauses(self) -> tuple[Clause, ...]:
        return tuple(Clause.of(text, metrics.NAMES) for text in self.require)

    def cut(self, market: Market) -> list[splits.Fold]:
        """The folds of a market."""
        if any(_CALENDAR.search(text) for text in (self.train, self.test, self.validate or "")):
            return splits.by_calendar(
                market.ts, self.train, self.test, validate=self.validate, anchored=self.anchored, purge=self.purge or 0,
                partial=self.partial,
            )  # fmt: skip
        make = splits.anchored if self.anchored else splits.rolling
        bars = {name: -(-clock.duration(getattr(self, name)) // market.interval) for name in ("train", "test")}
        more = -(-clock.duration(self.validate) // market.interval) if self.validate else 0
        purge = -(-clock.duration(self.purge) // market.interval) if self.purge else 0
        return make(len(market), **bars, validate=more, purge=purge, partial=self.partial)


def _check_length(name: str, text: Any) -> None:
    """None, and nothing, are no length: of what may be left out."""
    if text in (None, "") and name in ("validate", "purge"):
        return
    if not isinstance(text, str):
        raise BadInput(f'{name}={text!r}: write a length as a text, such as "30d"')
    try:
        if name == "purge" or not _CALENDAR.search(text):
            clock.duration(text)
        else:
            splits.period(name, text)
    except BadInput as error:
        raise BadInput(str(error) if str(error).startswith(name) else f"{name}: {error}") from None


@dataclass(frozen=True)
class Window:
    """[first, stop) of a market's bars."""

    first: int
    stop: int

    def of(self, market: Market) -> Market:
        return market[self.first : self.stop]
