"""What a page is made of: sections, and the blocks in them. Plain data; the template knows how each is drawn.

A section without data has no blocks and says why in `empty`, in one line.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar


@dataclass(frozen=True)
class Key:
    """A line of a legend. `mark`: line, dot, bar, up, down, spot."""

    name: str
    color: str
    mark: str = "line"


@dataclass(frozen=True)
class Switch:
    """A button over a chart: pressed, `on` goes into the layout; released, `off`."""

    name: str
    on: dict[str, Any]
    off: dict[str, Any]


@dataclass(frozen=True)
class Chart:
    """What plotly.js draws. Colours are names of the page's CSS variables, so that one chart serves light and dark."""

    kind: ClassVar[str] = "chart"
    id: str
    title: str
    caption: str
    keys: tuple[Key, ...]
    data: list[dict[str, Any]]
    layout: dict[str, Any]
    wide: bool = False
    tall: bool = False
    said: str = ""  # what it shows in words, for readers that see no picture
    switches: tuple[Switch, ...] = ()


@dataclass(frozen=True)
class Table:
    """Cells as text; the first `words` columns are words, the others numbers. `tones`: a row each, "" good bad."""

    kind: ClassVar[str] = "table"
    title: str
    heads: Sequence[str]
    rows: Sequence[Sequence[str]]
    words: int = 1
    note: str = ""
    tones: Sequence[str] = ()
    wraps: bool = False  # long words go over several lines
    half: bool = False  # beside a chart
    folded: bool = False  # shown when asked for


@dataclass(frozen=True)
class Tile:
    what: str
    number: str
    note: str = ""
    tone: str = ""
    low: str = ""
    high: str = ""
    range_name: str = ""


@dataclass(frozen=True)
class Tiles:
    kind: ClassVar[str] = "tiles"
    tiles: Sequence[Tile]


@dataclass(frozen=True)
class Answer:
    """One question put to a run. `outcome`: pass, fail, unknown."""

    outcome: str
    question: str
    answer: str
    test: str


@dataclass(frozen=True)
class Answers:
    kind: ClassVar[str] = "answers"
    answers: Sequence[Answer]


@dataclass(frozen=True)
class Cell:
    text: str
    tone: str = ""
    strength: int = 0  # 0 to 4: how strong the colour


@dataclass(frozen=True)
class Calendar:
    """Months across, years down."""

    kind: ClassVar[str] = "calendar"
    title: str
    heads: Sequence[str]
    rows: Sequence[tuple[str, Sequence[Cell]]]
    note: str = ""


@dataclass(frozen=True)
class Notes:
    kind: ClassVar[str] = "notes"
    title: str
    items: Sequence[str]


@dataclass(frozen=True)
class Explorer:
    """Rows that the reader sorts and filters. `kinds` of columns: time, word, number, money, percent."""

    kind: ClassVar[str] = "explorer"
    id: str
    title: str
    note: str
    heads: Sequence[str]
    kinds: Sequence[str]
    columns: Sequence[Sequence[Any]]
    filters: Sequence[int] = ()  # columns of words that get a menu
    outcome: int | None = None  # a column whose sign tells winners from losers
    cents: int = 2  # decimals of money


@dataclass(frozen=True)
class Section:
    anchor: str
    title: str
    lead: str = ""
    blocks: Sequence[Any] = ()
    empty: str = ""
    short: str = ""  # in the list of contents

    @property
    def charts(self) -> list[Chart]:
        return [block for block in self.blocks if isinstance(block, Chart)]

    @property
    def explorers(self) -> list[Explorer]:
        return [block for block in self.blocks if isinstance(block, Explorer)]


def absent(anchor: str, title: str, why: str, short: str = "") -> Section:
    return Section(anchor, title, empty=why, short=short)


@dataclass(frozen=True)
class Page:
    """A whole page. `identity`: what it is about, name and value."""

    title: str
    lead: str
    identity: Sequence[tuple[str, str]]
    sections: Sequence[Section]
    verdict: str = ""
    tone: str = ""
    made_up: bool = False
    figures: Sequence[Tile] = ()  # the first numbers, in the head of the page
    curve: str = ""  # points of a line in a box of 100 x 100, beside them
    notices: Sequence[str] = field(default_factory=tuple)
