"""What a venue's REST interface can do, as data: the form of the table in `data.sources.venue_table`.

A `VenueFacts` is one ccxt class and its `Feed`s. A feed is one endpoint that gives history: its name in ccxt, the
parameters of a request, how many rows an answer holds, how far back it reaches, where in the answer the rows stand and
how their fields become the columns of one table. Nothing else in Unwind knows these things of a venue.

Parameters may hold placeholders, filled in for each request; times are milliseconds since 1970:

    $id $contract $interval $limit   the venue's name of the contract, linear or inverse, of the interval, of rows
    $info.x                          field x of what the venue tells of the contract
    $start $end                      first and last millisecond wanted, both included
    $before $after                   the same two bounds for a venue that excludes them

Columns are small formulas over the fields of a row (SQL arithmetic); `size` is the size of one contract.

To add a venue: write its entry in the table, its wire format under `tests/support/venue_server/`, and run
`tests/contracts/test_venue_fetch.py`, which asks of every entry what `unwind fetch` relies on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from data import clock

if TYPE_CHECKING:
    from data.sources.tiers import Bracket


class What(StrEnum):
    """What can be asked for, in the words of the command line."""

    CANDLES = "candles"
    MARK = "mark"
    INDEX = "index"
    PREMIUM = "premium"
    FUNDING = "funding"
    OPEN_INTEREST = "open-interest"
    RATIOS = "ratios"
    TIERS = "tiers"
    INSTRUMENTS = "instruments"


TABLE_OF: Mapping[What, str] = {
    What.CANDLES: "candles",
    What.MARK: "candles",
    What.INDEX: "candles",
    What.PREMIUM: "candles",
    What.FUNDING: "funding",
    What.OPEN_INTEREST: "open_interest",
    What.RATIOS: "ratios",
    What.TIERS: "tiers",
    What.INSTRUMENTS: "instruments",
}
PRICE_OF: Mapping[What, str] = {What.CANDLES: "trade", What.MARK: "mark", What.INDEX: "index", What.PREMIUM: "premium"}
SNAPSHOTS = (What.OPEN_INTEREST, What.RATIOS)
NOW_ONLY = (What.TIERS, What.INSTRUMENTS)  # venues tell what holds now, not what held


PUBLISH_S = 60.0  # how long publishing a snapshot takes, after the interval that it may be the start of
DAY_S = 86_400
PRICES: dict[str, str] = {"open": "open", "high": "high", "low": "low", "close": "close"}


def same(*names: str) -> Mapping[str, str]:
    """Names that the venue shares with us."""
    return {n: n for n in names}


@dataclass(frozen=True, eq=False)
class Feed:
    """One endpoint that gives history of one contract."""

    what: What
    method: str  # the endpoint's name in ccxt
    doc: str  # the venue's page on it
    params: Mapping[str, Any]
    page: int  # rows asked for at a time
    time: str  # the field that stamps a row
    columns: Mapping[str, str]
    most: int = 0  # rows that the venue would give at a time; 0: as many as are asked for
    newest_first: bool = False  # the order of an answer, and which end of a window is left out when it is too wide
    inverse: Mapping[str, str] = field(default_factory=dict)  # columns that differ for inverse contracts
    rows: tuple[str | int, ...] = ()  # where in the answer the rows stand
    fields: tuple[str, ...] = ()  # names of the places of a row that is a list
    optional: tuple[str, ...] = ()  # fields that an answer may lack
    intervals: Mapping[str, str] = field(default_factory=dict)  # our name to the venue's
    kind: str = ""  # of a ratio
    hours: float = 8.0  # of funding: the usual time between settlements
    hours_told: bool = False  # every settlement of the venue is `hours` after the one before
    closes: str = ""  # the field with a bar's last millisecond, where the venue gives one
    confirmed: tuple[str, str] | None = None  # field and value that mark a bar which is over
    reach_s: int | None = None  # how far back, in seconds
    reach_rows: int | None = None  # how far back, in rows
    since: str = ""  # the first day there is
    lag_s: float = 0.0  # how long after its own time a row is published
    pause_s: float = 0.0  # between two requests, where the venue's weight is not all there is to heed
    queue: str = ""  # feeds that name the same one wait for each other; the pause is theirs together
    contracts: tuple[str, ...] = ("linear", "inverse")  # of which it is served
    span_s: int | None = None  # the longest window the venue accepts
    elsewhere: str = ""  # where older history comes from

    @property
    def key(self) -> str:
        """Tells the feeds of a venue apart: candles, ratios of accounts, ..."""
        return f"{self.what} {self.kind}".strip()

    @property
    def table(self) -> str:
        return TABLE_OF[self.what]

    def interval_name(self, interval: int) -> str:
        """The venue's name for an interval of so many nanoseconds."""
        return next((name for ours, name in self.intervals.items() if clock.duration(ours) == interval), "")

    @property
    def is_grid(self) -> bool:
        """Whether rows stand on multiples of an interval; settlements do not quite."""
        return self.what is not What.FUNDING


@dataclass(frozen=True, eq=False)
class TierFeed:
    """Where maintenance brackets come from; `read` turns one answer into brackets by the venue's names."""

    method: str
    doc: str
    params: Mapping[str, Any]
    read: Callable[[Any, Mapping[str, Any]], Mapping[str, Sequence[Bracket]]]
    for_all: bool = False  # one answer tells of every contract
    needs_key: bool = False
    price: tuple[str, Mapping[str, Any], tuple[str | int, ...]] | None = None  # tiers in contracts: how to get a price
    remark: str = ""


@dataclass(frozen=True, eq=False)
class VenueFacts:
    """One REST interface: a venue, or a part of one."""

    name: str
    stored_as: str  # the venue in the store
    ccxt: str
    feeds: tuple[Feed, ...]
    contracts: tuple[str, ...] = ("linear",)
    options: Mapping[str, Any] = field(default_factory=dict)  # for ccxt: which markets to load
    id_field: str = "id"  # of ccxt's market: the name that requests take
    tiers: TierFeed | None = None
    time: tuple[str, tuple[str | int, ...]] | None = None  # endpoint and place of the venue's clock, in milliseconds
    lacks: Mapping[What, str] = field(default_factory=dict)  # what it does not serve, and what to do
    bans: Mapping[int, float] = field(default_factory=dict)  # status that means a ban: how long, unless it is said
    busy: str = ""  # pattern of an error that passes, where ccxt takes it for a refusal
    delisting: str = ""  # field of a contract's facts with its last trading time
    contract_size: float | None = None  # where ccxt's is none
    tick_drifts: bool = False  # the price step follows the price: there is none to store
    keys: str = ""  # prefix of the environment's variables with a key, where one is of use

    def of(self, what: What) -> tuple[Feed, ...]:
        return tuple(f for f in self.feeds if f.what is what)

    @property
    def serves(self) -> tuple[What, ...]:
        history = dict.fromkeys(f.what for f in self.feeds)
        return (*history, *((What.TIERS,) if self.tiers else ()), What.INSTRUMENTS)
