"""Names in Binance's public archive: what a file holds is told by its name and its folders.

    data/futures/{um,cm}/{daily,monthly}/{klines,markPriceKlines,...}/SYMBOL/INTERVAL/SYMBOL-INTERVAL-DATE.zip
    data/futures/{um,cm}/monthly/fundingRate/SYMBOL/SYMBOL-fundingRate-MONTH.zip
    data/futures/{um,cm}/daily/{metrics,bookDepth,liquidationSnapshot}/SYMBOL/SYMBOL-KIND-DAY.zip
    data/spot/{daily,monthly}/klines/SYMBOL/INTERVAL/SYMBOL-INTERVAL-DATE.zip

The names of trade, mark, index and premium klines differ only in their folders, and so do those of spot and USD-M: a
loose file needs `kind` and `market` from the user, as nothing is guessed that would file one price as another. Where
name or folders say it, the user must not say something else. A folder says the market where it stands as above, below
`futures` or `data` or right over a period or kind; any other folder that happens to be called spot says nothing.
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from data import clock
from data.errors import BadInput, NotThisFormat, did_you_mean
from data.schema import Price
from data.symbols import contract_kind, parted, unified

KLINES = {
    "klines": Price.TRADE,
    "markPriceKlines": Price.MARK,
    "indexPriceKlines": Price.INDEX,
    "premiumIndexKlines": Price.PREMIUM,
}
TABLES = {
    **dict.fromkeys(KLINES, ("candles",)),
    "fundingRate": ("funding",),
    "metrics": ("open_interest", "ratios"),
    "bookDepth": ("depth",),
    "liquidationSnapshot": ("liquidations",),
}
KINDS = tuple(TABLES)
MARKETS = ("um", "cm", "spot")
_MEANT = {"um": ("usdm", "usdtm", "usdsm", "linear", "futures"), "cm": ("coinm", "inverse", "delivery")}
_PERIODS = ("daily", "monthly")
_OTHERS = ("aggTrades", "trades", "bookTicker", "BVOLIndex", "EOHSummary")  # in the archive, in no table of ours
_DATE = r"(?P<date>\d{4}-\d{2}(?:-\d{2})?)\.(?P<suffix>zip|csv)"
_NAMED = re.compile(rf"^(?P<symbol>.+)-(?P<kind>{'|'.join(k for k in (*KINDS, *_OTHERS) if k not in KLINES)})-{_DATE}$")
_BARS = re.compile(rf"^(?P<symbol>.+)-(?P<interval>\d+[smhdw])-{_DATE}$")


class NotImported(NotThisFormat):
    """A file of the archive, or beside it, that fills no table."""


@dataclass(frozen=True)
class ArchiveFile:
    """One file of the archive, known by its name."""

    market: str
    kind: str
    symbol: str  # the venue's own
    date: str  # 2024-01-31, or 2024-01 for a month
    interval: str = ""
    suffix: str = "zip"

    @property
    def name(self) -> str:
        return f"{self.symbol}-{self.interval or self.kind}-{self.date}.{self.suffix}"

    @property
    def path(self) -> str:
        """Where the archive keeps it, and the name under which its origin is stored."""
        market = "spot" if self.market == "spot" else f"futures/{self.market}"
        period = "monthly" if self.is_month else "daily"
        folder = f"{self.symbol}/{self.interval}" if self.interval else self.symbol
        return f"data/{market}/{period}/{self.kind}/{folder}/{self.name}"

    @property
    def is_month(self) -> bool:
        return len(self.date) == 7

    @property
    def covers(self) -> tuple[int, int]:
        """Nanoseconds [from, to) that the file speaks for."""
        first = dt.date.fromisoformat(self.date + ("-01" if self.is_month else ""))
        after = _next_month(first) if self.is_month else first + dt.timedelta(days=1)
        return clock.moment(first), clock.moment(after)

    @property
    def tables(self) -> tuple[str, ...]:
        return TABLES[self.kind]

    @property
    def unified(self) -> str:
        name = unified(self.symbol, "binance")
        return name.split(":", 1)[0] if self.market == "spot" else name

    @property
    def is_inverse(self) -> bool:
        return contract_kind(self.unified) == "inverse"


def parse(path: PurePath, kind: str | None = None, market: str | None = None) -> ArchiveFile:
    """What a file is, by its name, its folders and what the user adds."""
    name, folders = path.name, path.parts[:-1]
    kind, market = kind_name(kind or ""), market_name(market or "")
    if match := _NAMED.match(name):
        if match["kind"] in _OTHERS:
            raise NotImported(f"{name}: {match['kind']} fill no table")
        kind, interval = _agreed(name, "kind", "its name says", match["kind"], kind), ""
    elif match := _BARS.match(name):
        interval = match["interval"]
        told = next((p for p in reversed(folders) if p in KLINES), "")
        kind = _agreed(name, "kind", "its folder says", told, kind)
        if kind not in KLINES:
            choices = ", ".join(KLINES)
            raise BadInput(f"{name}: its folder does not say what the bars are made of; pass --kind, one of {choices}")
    else:
        raise NotImported(f"{name}: is not named like a file of the archive, such as BTCUSDT-1m-2024-01-31.zip")
    market = _market(name, folders, match["symbol"], kind, market)
    file = ArchiveFile(market, kind, match["symbol"], match["date"], interval, match["suffix"])
    _check_date(file)
    return file


def market_name(text: str) -> str:
    """um, cm or spot as the user writes it; empty stays empty."""
    plain = text.strip().lower()
    if plain in MARKETS or not plain:
        return plain
    bare = plain.replace("-", "").replace("_", "")
    hint = next((f"did you mean {m}?" for m, words in _MEANT.items() if bare in words), did_you_mean(plain, MARKETS))
    raise BadInput(f"--market {text!r}: {hint}")


def kind_name(text: str) -> str:
    """A kind of file as the user writes it; empty stays empty."""
    known = {k.lower(): k for k in KINDS}
    if text and text.lower() not in known:
        raise BadInput(f"--kind {text!r}: {did_you_mean(text, KINDS)}")
    return known.get(text.lower(), "")


def _agreed(name: str, what: str, who: str, told: str, given: str) -> str:
    """What is told or given; refused where the two differ."""
    if told and given and told != given:
        raise BadInput(f"{name}: {who} {told}, --{what} says {given}; leave --{what} out or move the file")
    return told or given


def _market(name: str, folders: Sequence[str], symbol: str, kind: str, given: str) -> str:
    by_name = _market_of(symbol, kind)
    if folder := _market_folder(folders):
        market = _agreed(name, "market", "its folders say", folder, given)
    elif parted(symbol)[1]:
        market = _agreed(name, "market", "its name says", by_name, given)
    else:
        market = given or by_name
    if not market:
        choices = ", ".join(MARKETS)
        raise BadInput(f"{name}: its folders do not say which market it is of; pass --market, one of {choices}")
    if market == "spot" and kind != "klines":
        raise BadInput(f"{name}: {kind} are of futures; spot has klines alone")
    return market


def _market_folder(folders: Sequence[str]) -> str:
    """The market by a folder that stands where the archive has it; the nearest counts."""
    around = zip(("", *folders), folders, (*folders[1:], ""), strict=False)
    places = [(f, f in MARKETS and _is_place(above, f, below)) for above, f, below in around]
    return next((f for f, counts in reversed(places) if counts), "")


def _is_place(above: str, market: str, below: str) -> bool:
    return above == ("data" if market == "spot" else "futures") or below in (*_PERIODS, *KINDS)


def _check_date(file: ArchiveFile) -> None:
    try:
        _ = file.covers
    except ValueError:
        raise NotThisFormat(f"{file.name}: {file.date} is no date") from None


def _market_of(symbol: str, kind: str) -> str:
    """Inverse symbols exist on COIN-M alone, and only futures have anything but klines."""
    if contract_kind(unified(symbol, "binance")) == "inverse":
        return "cm"
    return "" if kind == "klines" and not parted(symbol)[1] else "um"


def _next_month(day: dt.date) -> dt.date:
    return (day.replace(day=1) + dt.timedelta(days=32)).replace(day=1)


@dataclass(frozen=True)
class Selection:
    """Which files of the archive are wanted: whole days or months that lie in [since, until).

    `period` is for klines; funding exists by month and the other kinds by day, whatever it says. Without `until` the
    selection ends with yesterday, the last day that can be published.
    """

    symbols: tuple[str, ...]
    since: str
    until: str | None = None
    kinds: tuple[str, ...] = ("klines",)
    market: str = "um"
    interval: str = "1m"
    period: str = "daily"

    def __post_init__(self) -> None:
        object.__setattr__(self, "market", market_name(self.market) or "um")
        object.__setattr__(self, "kinds", tuple(kind_name(k) for k in self.kinds))
        if self.period not in _PERIODS:
            raise BadInput(f"--period {self.period!r}: {did_you_mean(self.period, _PERIODS)}")
        there_are = ("klines",) if self.market == "spot" else KINDS
        for kind in self.kinds:
            if kind not in there_are:
                raise BadInput(f"--kind {kind!r} of {self.market}: {did_you_mean(kind, there_are)}")
        if not self.symbols or not self.kinds:
            raise BadInput("nothing is selected: name at least one symbol and one kind")
        clock.duration(self.interval)
        if self._last_day < self._first_day:
            end = self.until or "today"
            raise BadInput(f"the selection from {self.since} to {end} is empty; until is the first day not wanted")

    @property
    def _first_day(self) -> dt.date:
        return clock.naive(clock.moment(self.since)).date()

    @property
    def _last_day(self) -> dt.date:
        end = clock.naive(clock.moment(self.until)) if self.until else dt.datetime.now(dt.UTC)
        midnight = (end.hour, end.minute, end.second, end.microsecond) == (0, 0, 0, 0)
        return end.date() - dt.timedelta(days=1 if midnight or not self.until else 0)

    def __iter__(self) -> Iterator[ArchiveFile]:
        for kind in self.kinds:
            monthly = kind == "fundingRate" or (kind in KLINES and self.period == "monthly")
            dates = list(self._months() if monthly else self._days())
            interval = self.interval if kind in KLINES else ""
            for symbol in self.symbols:
                yield from (ArchiveFile(self.market, kind, self._named(symbol, kind), d, interval) for d in dates)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _named(self, symbol: str, kind: str) -> str:
        """COIN-M index klines are kept under the pair, BTCUSD, not under a contract."""
        pair_only = self.market == "cm" and kind == "indexPriceKlines"
        return symbol.rsplit("_", 1)[0] if pair_only else symbol

    def _days(self) -> Iterator[str]:
        day = self._first_day
        while day <= self._last_day:
            yield day.isoformat()
            day += dt.timedelta(days=1)

    def _months(self) -> Iterator[str]:
        month = self._first_day.replace(day=1)
        while month <= self._last_day:
            yield month.isoformat()[:7]
            month = _next_month(month)
