"""The contract of the whole project: every table, column, type, unit, natural key and time of knowledge.

Everything else is derived from here: the store's DDL, numpy dtypes, the checks made on the way in, `unwind schema`
and docs/data.md. Rules that hold for every table:

1. Time is UTC and naive in the store. A bar is stamped at its open.
2. Rates are fractions as settled, with their interval beside them. Nothing is annualised.
3. Linear contracts and spot: sizes in base units, notionals in the quote currency. Inverse contracts: sizes in
   contracts and notionals in the quote currency.
4. A liquidation row names the *position* that was liquidated, `long` or `short`, whatever the venue's side field means.
5. `known_at` is the time from which a row was known. Where the table has the column it belongs to the natural key: a
   later version of the same fact is kept beside the earlier one and never changes what was visible before.
   Candles have no column for it: a bar is known at its end.
6. Writing a row whose natural key is already stored replaces it where it differs (the later ingest wins, and the change
   is counted in `ingests`), and does nothing when it is the same. An empty value never erases a stored one; a table of
   maintenance brackets replaces the whole table of the same moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from data.errors import NotFound, did_you_mean

SCHEMA_VERSION = 2


class Kind(StrEnum):
    """How a column is held: in the store (value) and in arrays (`NUMPY`)."""

    TIME = "TIMESTAMP"
    TEXT = "VARCHAR"
    REAL = "DOUBLE"
    INT = "BIGINT"
    FLAG = "BOOLEAN"
    TEXTS = "VARCHAR[]"


NUMPY = {
    Kind.TIME: "int64",  # nanoseconds since 1970, UTC
    Kind.TEXT: "object",
    Kind.REAL: "float64",
    Kind.INT: "int64",
    Kind.FLAG: "bool",
    Kind.TEXTS: "object",
}


class Price(StrEnum):
    """What a candle is made of."""

    TRADE = "trade"
    MARK = "mark"
    INDEX = "index"
    PREMIUM = "premium"


class Position(StrEnum):
    """Which side of a position was liquidated."""

    LONG = "long"
    SHORT = "short"


class Feed(StrEnum):
    """How much of what happened a feed shows. A sampled feed is a lower bound and never a total."""

    COMPLETE = "complete"
    SAMPLED = "sampled"
    AGGREGATED = "aggregated"
    UNKNOWN = "unknown"


class PriceKind(StrEnum):
    """What the price of a liquidation row is."""

    AVERAGE = "average"
    BANKRUPTCY = "bankruptcy"
    LIMIT = "limit"
    UNKNOWN = "unknown"


class Ratio(StrEnum):
    """Who is counted in a long/short ratio."""

    ACCOUNTS = "accounts"
    TOP_ACCOUNTS = "top_accounts"
    TOP_POSITIONS = "top_positions"
    TAKER_VOLUME = "taker_volume"


@dataclass(frozen=True)
class Column:
    """One column: its name, type, unit and meaning, and what is accepted on the way in."""

    name: str
    kind: Kind
    unit: str
    meaning: str
    required: bool = False
    low: float | None = None  # smallest value accepted on the way in
    high: float | None = None
    choices: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """One table: its key, its columns, and from when a row is known."""

    name: str
    meaning: str
    key: tuple[str, ...]
    known: str  # when a row is known, in words
    columns: tuple[Column, ...]
    known_from: str = ""  # column that `known_at` is counted from when the source does not say
    known_adds: str = ""  # column of seconds to add to it (a bar's interval)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.columns)

    @property
    def values(self) -> tuple[str, ...]:
        """The columns outside the natural key."""
        return tuple(c.name for c in self.columns if c.name not in self.key)

    @property
    def time(self) -> str:
        """The column that places a row in time."""
        return next(c.name for c in self.columns if c.kind is Kind.TIME)

    @property
    def series(self) -> tuple[str, ...]:
        """The part of the key that names one series: all but times and what varies inside one moment."""
        return tuple(n for n in self.key if n in SERIES)

    @property
    def has_known_at(self) -> bool:
        return "known_at" in self.names

    def column(self, name: str) -> Column:
        for c in self.columns:
            if c.name == name:
                return c
        raise NotFound(f"table {self.name} has no column {name}: {did_you_mean(name, self.names)}")


SERIES = ("venue", "symbol", "price", "interval_s", "kind")

_VENUE = Column("venue", Kind.TEXT, "", "exchange, lower case: binance, bybit, okx, hyperliquid, sim", required=True)
_SYMBOL = Column(
    "symbol", Kind.TEXT, "", "unified name, BTC/USDT:USDT; an index over venues is plain BTC", required=True
)
_KNOWN = Column("known_at", Kind.TIME, "UTC", "from when the row was known", required=True)


def _ts(meaning: str) -> Column:
    return Column("ts", Kind.TIME, "UTC", meaning, required=True)


def _interval(meaning: str, required: bool = True) -> Column:
    return Column("interval_s", Kind.INT, "seconds", meaning, required=required, low=1)


def _real(name: str, unit: str, meaning: str, **limits: float | bool) -> Column:
    low, high = limits.get("low"), limits.get("high")
    return Column(name, Kind.REAL, unit, meaning, required=bool(limits.get("required")), low=low, high=high)


def _text(name: str, meaning: str, choices: Iterable[str] = (), required: bool = False) -> Column:
    return Column(name, Kind.TEXT, "", meaning, required=required, choices=tuple(choices))


_TABLES = (
    Table(
        "instruments",
        "what a contract is, dated: sizes, steps, listing, delisting, renames",
        ("venue", "symbol", "valid_from", "known_at"),
        "valid_from, unless the source says otherwise",
        (
            _VENUE,
            _SYMBOL,
            Column("valid_from", Kind.TIME, "UTC", "these terms hold from here", required=True),
            _text("venue_symbol", "the venue's own name"),
            _text("base", "base currency"),
            _text("quote", "quote currency"),
            _text("settle", "currency of margin and settlement"),
            _text("contract", "how profit is paid", ("linear", "inverse", "spot")),
            _real("contract_size", "base, or quote if inverse", "size of one contract", low=0),
            _real("tick_size", "quote", "smallest price step", low=0),
            _real("lot_size", "base, or contracts", "smallest size step", low=0),
            _real("min_notional", "quote", "smallest order", low=0),
            Column("listed", Kind.TIME, "UTC", "first trading time"),
            Column("delisted", Kind.TIME, "UTC", "last trading time; closed at the last mark"),
            _text("renamed_to", "unified name that goes on from here"),
            _KNOWN,
        ),
        known_from="valid_from",
    ),
    Table(
        "candles",
        "bars of trades, mark, index or premium index",
        ("venue", "symbol", "price", "interval_s", "ts"),
        "the bar's end (ts + interval); not stored",
        (
            _VENUE,
            _SYMBOL,
            _text("price", "what the bar is made of", Price, required=True),
            _interval("length of the bar"),
            _ts("open of the bar"),
            _real("open", "quote", "first price", required=True),
            _real("high", "quote", "highest price", required=True),
            _real("low", "quote", "lowest price", required=True),
            _real("close", "quote", "last price", required=True),
            _real("volume", "base", "traded size; contracts if inverse; empty for mark, index, premium", low=0),
            _real("quote_volume", "quote", "traded notional", low=0),
            Column("trades", Kind.INT, "count", "number of trades", low=0),
            _real("taker_buy_volume", "base", "part of volume bought by takers", low=0),
            _real("taker_buy_quote_volume", "quote", "part of quote_volume bought by takers", low=0),
        ),
    ),
    Table(
        "funding",
        "funding settlements, one row each",
        ("venue", "symbol", "ts", "known_at"),
        "the settlement's time plus the source's lag",
        (
            _VENUE,
            _SYMBOL,
            _ts("settlement time; a stamp within 60 s of a whole hour is snapped to it"),
            Column("raw_ts", Kind.TIME, "UTC", "the stamp as the source gave it"),
            _real(
                "rate",
                "fraction per interval",
                "paid by longs to shorts when positive",
                required=True,
                low=-0.2,
                high=0.2,
            ),
            _real("interval_hours", "hours", "time since the settlement before", low=0, high=24 * 7),
            _real("price", "quote", "price that the payment was reckoned on, if known", low=0),
            _KNOWN,
        ),
        known_from="ts",
    ),
    Table(
        "open_interest",
        "open interest snapshots",
        ("venue", "symbol", "interval_s", "ts", "known_at"),
        "the snapshot's time plus the source's lag",
        (
            _VENUE,
            _SYMBOL,
            _interval("spacing at which the source takes snapshots"),
            _ts("time of the snapshot"),
            _real("quantity", "base, or contracts if inverse", "size open, one side", low=0),
            _real("value", "quote", "notional open, one side", low=0),
            _KNOWN,
        ),
        known_from="ts",
    ),
    Table(
        "marks",
        "mark and index prices with the forecast of the coming funding rate, as they stood; from the recorder",
        ("venue", "symbol", "ts", "known_at"),
        "the time of receipt",
        (
            _VENUE,
            _SYMBOL,
            _ts("time of the snapshot"),
            _real("mark", "quote", "mark price", low=0),
            _real("index", "quote", "index or oracle price", low=0),
            _real(
                "funding_rate",
                "fraction per interval",
                "rate that the coming settlement would have",
                low=-0.2,
                high=0.2,
            ),
            Column("funding_at", Kind.TIME, "UTC", "time of the coming settlement"),
            _interval("spacing of the snapshots", required=False),
            _KNOWN,
        ),
        known_from="ts",
    ),
    Table(
        "liquidations",
        "liquidation events",
        ("venue", "symbol", "ts", "position", "price", "quantity", "event_id", "known_at"),
        "the event's time plus the source's lag",
        (
            _VENUE,
            _SYMBOL,
            _ts("time of the event"),
            _text("position", "the position that was liquidated", Position, required=True),
            _real("price", "quote", "price of the event, of the kind in price_kind", required=True, low=0),
            _text("price_kind", "what the price is", PriceKind, required=True),
            _real("quantity", "base, or contracts if inverse", "size liquidated", required=True, low=0),
            _real("notional", "quote", "size liquidated in money", low=0),
            _text("feed", "how much of what happened the feed shows", Feed, required=True),
            _text("event_id", "the venue's own number, or a running number inside one moment", required=True),
            _KNOWN,
        ),
        known_from="ts",
    ),
    Table(
        "liquidation_bars",
        "liquidations summed over bars by the source",
        ("venue", "symbol", "interval_s", "ts", "known_at"),
        "the bar's end plus the source's lag",
        (
            _VENUE,
            _SYMBOL,
            _interval("length of the bar"),
            _ts("open of the bar"),
            _real("long_notional", "quote", "long positions liquidated", low=0),
            _real("short_notional", "quote", "short positions liquidated", low=0),
            Column("long_count", Kind.INT, "count", "number of long events", low=0),
            Column("short_count", Kind.INT, "count", "number of short events", low=0),
            _text("feed", "how much of what happened the feed shows", Feed, required=True),
            _KNOWN,
        ),
        known_from="ts",
        known_adds="interval_s",
    ),
    Table(
        "ratios",
        "long/short and taker ratios",
        ("venue", "symbol", "kind", "interval_s", "ts", "known_at"),
        "the snapshot's time plus the source's lag",
        (
            _VENUE,
            _SYMBOL,
            _text("kind", "who is counted", Ratio, required=True),
            _interval("spacing at which the source takes snapshots"),
            _ts("time of the snapshot"),
            _real("ratio", "long / short", "long side over short side; buys over sells for taker_volume", low=0),
            _real("long", "share, or base for taker_volume", "long side", low=0),
            _real("short", "share, or base for taker_volume", "short side", low=0),
            _KNOWN,
        ),
        known_from="ts",
    ),
    Table(
        "depth",
        "resting orders within a distance of the mid price",
        ("venue", "symbol", "ts", "percent", "known_at"),
        "the snapshot's time plus the source's lag",
        (
            _VENUE,
            _SYMBOL,
            _ts("time of the snapshot"),
            _real(
                "percent",
                "percent",
                "distance of the band; negative is the bid side",
                required=True,
                low=-100,
                high=1000,
            ),
            _real("quantity", "base, or contracts if inverse", "size within the band", low=0),
            _real("notional", "quote", "notional within the band", low=0),
            _interval("spacing at which the source takes snapshots", required=False),
            _KNOWN,
        ),
        known_from="ts",
    ),
    Table(
        "tiers",
        "maintenance margin brackets, dated; cum continues from bracket to bracket",
        ("venue", "symbol", "valid_from", "floor", "known_at"),
        "valid_from, the time at which the table was seen",
        (
            _VENUE,
            _SYMBOL,
            Column("valid_from", Kind.TIME, "UTC", "the whole table holds from here until the next one", required=True),
            Column("tier", Kind.INT, "", "1 is the lowest", required=True, low=0),
            _real("floor", "quote", "smallest notional of the bracket", required=True, low=0),
            _real("cap", "quote", "largest notional of the bracket; empty is without bound", low=0),
            _real("mmr", "fraction", "maintenance margin rate", required=True, low=0, high=1),
            _real("max_leverage", "times", "largest leverage allowed", low=0),
            _real("cum", "quote", "maintenance amount to subtract", required=True),
            _KNOWN,
        ),
        known_from="valid_from",
    ),
    Table(
        "adl",
        "auto-deleveraging: positions closed against their owners' will",
        ("venue", "symbol", "ts", "event_id", "known_at"),
        "the event's end",
        (
            _VENUE,
            _SYMBOL,
            _ts("start of the event"),
            _text("event_id", "number of the event or cluster", required=True),
            Column("ended", Kind.TIME, "UTC", "end of the event"),
            _text("position", "the side that was closed", Position),
            _real("price", "quote", "price it was closed at", low=0),
            _real("quantity", "base, or contracts if inverse", "size closed", low=0),
            _real("notional", "quote", "notional closed", low=0),
            _real("deficit", "quote", "loss that had to be covered", low=0),
            _real("capacity", "quote", "notional that stood in the queue", low=0),
            _real("overshoot", "quote", "notional closed beyond the need", low=0),
            _real("residual", "quote", "deficit left open", low=0),
            _KNOWN,
        ),
        known_from="ts",
    ),
    Table(
        "insurance",
        "insurance fund balances",
        ("venue", "fund", "ts", "known_at"),
        "the snapshot's time plus the source's lag",
        (
            _VENUE,
            _text("fund", "name of the fund or of the asset it is held in", required=True),
            _ts("time of the snapshot"),
            _real("balance", "the fund's asset", "size of the fund", required=True),
            _KNOWN,
        ),
        known_from="ts",
    ),
    Table(
        "truth",
        "what really happened in a simulated market; never part of what a strategy sees",
        ("venue", "symbol", "kind", "ts"),
        "never: for judging detectors only",
        (
            _VENUE,
            _SYMBOL,
            _text("kind", "phase, cascade, fragility, ...", required=True),
            _ts("from when"),
            Column("until", Kind.TIME, "UTC", "to when"),
            _text("label", "such as calm, build-up, unwind, recovery; or the cause"),
            _real("value", "of the kind", "size"),
        ),
    ),
    Table(
        "gaps",
        "times at which a feed was down, so that silence is not taken for calm",
        ("venue", "symbol", "feed_table", "ts", "known_at"),
        "the start of the gap",
        (
            _VENUE,
            _text("symbol", "unified name, or * for all", required=True),
            _text("feed_table", "table that is incomplete", required=True),
            _ts("start"),
            Column("until", Kind.TIME, "UTC", "end", required=True),
            _text("reason", "why"),
            _KNOWN,
        ),
        known_from="ts",
    ),
    Table(
        "raw",
        "payloads as received, kept by the recorder",
        ("venue", "stream", "ts", "event_id"),
        "the time of receipt",
        (
            _VENUE,
            _text("stream", "name of the stream", required=True),
            _ts("time of receipt"),
            _text("event_id", "what tells two payloads of one moment apart", required=True),
            _text("payload", "the message, unchanged"),
        ),
    ),
    Table(
        "ingests",
        "one row for every file, page or request that was stored, and what it changed",
        ("id", "table_name", "origin", "sha256"),
        "not a fact of the market",
        (
            Column("id", Kind.INT, "", "running number of the transaction", required=True),
            Column("at", Kind.TIME, "UTC", "when it was stored", required=True),
            _text("table_name", "table written", required=True),
            _text("venue", "venue written"),
            Column("symbols", Kind.TEXTS, "", "symbols written"),
            _text("source", "importer, such as binance-archive, file, tiers", required=True),
            _text("origin", "file name, address or request", required=True),
            _text("sha256", "of the bytes"),
            _text("recipe", "hash of the mapping and of the importer's version"),
            Column("rows", Kind.INT, "count", "rows read"),
            Column("inserted", Kind.INT, "count", "rows new to the table; of the whole transaction"),
            Column("changed", Kind.INT, "count", "rows replaced by different ones; of the whole transaction"),
            Column("unchanged", Kind.INT, "count", "rows that were there already; of the whole transaction"),
            Column("covers_from", Kind.TIME, "UTC", "first time that the origin speaks for"),
            Column("covers_to", Kind.TIME, "UTC", "end of the time that the origin speaks for"),
            _text("run", "the import that brought it; files of one import keep their order"),
            _text("version", "version of Unwind that wrote it"),
        ),
    ),
    Table(
        "trials",
        "every distinct parameter set that was simulated",
        ("market", "strategy", "source_hash", "params"),
        "not a fact of the market",
        (
            _text("market", "content hash of the market", required=True),
            _text("strategy", "name of the strategy", required=True),
            _text("source_hash", "hash of the strategy's source", required=True),
            _text("params", "parameters as JSON, keys sorted", required=True),
            Column("at", Kind.TIME, "UTC", "when it was first simulated", required=True),
            Column("symbols", Kind.TEXTS, "", "symbols of the market"),
            Column("first", Kind.TIME, "UTC", "first bar"),
            Column("last", Kind.TIME, "UTC", "last bar"),
            Column("days", Kind.INT, "count", "daily returns behind the Sharpe ratio"),
            _real("sharpe", "per day", "mean over standard deviation of daily returns, not annualised"),
            _real("skew", "", "of daily returns"),
            _real("kurtosis", "", "of daily returns, 3 for a normal law"),
        ),
    ),
)

TABLES: dict[str, Table] = {t.name: t for t in _TABLES}
MARKET_TABLES = tuple(n for n in TABLES if n not in ("ingests", "trials", "raw", "truth"))


def table(name: str) -> Table:
    """The table of that name, or an error that says which there are."""
    try:
        return TABLES[name]
    except KeyError:
        raise NotFound(f"no table {name!r}: {did_you_mean(name, TABLES)}") from None


def ddl(t: Table) -> str:
    """CREATE TABLE without a primary key: in DuckDB one costs six times the file; order and MERGE do its work."""
    columns = (f'    "{c.name}" {c.kind.value}' + (" NOT NULL" if c.required else "") for c in t.columns)
    return f'CREATE TABLE "{t.name}" (\n' + ",\n".join(columns) + "\n)"


def rows() -> list[dict[str, str | bool]]:
    """The whole contract as plain rows, for `unwind schema --json` and the docs."""
    return [
        {
            "table": t.name,
            "column": c.name,
            "type": c.kind.value,
            "unit": c.unit,
            "key": c.name in t.key,
            "required": c.required,
            "meaning": c.meaning + (f" ({', '.join(c.choices)})" if c.choices else ""),
        }
        for t in TABLES.values()
        for c in t.columns
    ]


def markdown() -> str:
    """The contract as a page; docs/data.md holds it, and a test keeps the two the same."""
    parts = []
    for t in TABLES.values():
        parts += [f"### {t.name}", "", f"{t.meaning[0].upper()}{t.meaning[1:]}. Known: {t.known}.", ""]
        parts += ["| column | type | unit | meaning |", "|---|---|---|---|"]
        for c in t.columns:
            name = f"**{c.name}**" if c.name in t.key else c.name
            choices = f" ({', '.join(c.choices)})" if c.choices else ""
            parts.append(f"| {name} | {c.kind.value} | {c.unit} | {c.meaning}{choices} |")
        parts.append("")
    return "\n".join(parts)
