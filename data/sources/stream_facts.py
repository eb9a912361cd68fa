"""What each venue sends live, as data: topics, how complete, what its `side` and `price` mean, how fast to look.

Adding a venue is one entry in `STREAMS`, a reader of its messages in data.sources.stream_events, and a subclass of
ccxt's venue in data.sources.ccxt_stream that knows how to subscribe. Where a fact comes from stands beside it.

* `push_s` is how long the venue may hold an event back before it pushes it. After a lost connection the gap begins that
  much before the last sign of life.
* `pulse` is a topic that speaks every second or so on the same connection: when it falls silent the stream is dead,
  however well pings are answered.
* `characters_a_line` is how long the names of the topics of one connection may be together; 0 is without a bound.
* `depth_limit` is how many levels a side one request gives; bands that reach further than the levels are not stored.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from data.errors import NotFound, did_you_mean
from data.schema import Feed, Position, PriceKind

LONG, SHORT = Position.LONG.value, Position.SHORT.value


@dataclass(frozen=True)
class LiquidationFacts:
    topic: str  # {id} stands for the venue's own symbol
    whole_market: str  # the topic of all symbols at once; empty: one topic a symbol
    feed: Feed
    price_kind: PriceKind
    position_of: Mapping[str, str]  # the venue's side field -> the position that was liquidated
    push_s: float
    says: str  # how complete it is, in words for the user
    source: str
    characters_a_line: int = 0


@dataclass(frozen=True)
class StreamFacts:
    name: str  # what --venue says
    venue: str  # what the store says
    exchange: str  # class of ccxt.pro
    market: str  # linear or inverse; empty: both
    settles: tuple[str, ...]  # currencies that the recorded contracts settle in; empty: any
    pulse: str
    depth_limit: int
    liquidations: LiquidationFacts | None
    lacks: Mapping[str, str] = field(default_factory=dict)  # what it does not offer -> why, and what does
    topics_a_request: int = 200
    ping_s: float = 15.0

    def lines(self, topics: Sequence[str]) -> list[list[str]]:
        """The topics of each connection, and a pulse of its own on every one."""
        bound = self.liquidations.characters_a_line if self.liquidations is not None else 0
        lines: list[list[str]] = [[]]
        for topic in topics:
            if bound and lines[-1] and sum(map(len, (*lines[-1], topic, self.pulse))) > bound:
                lines.append([])
            lines[-1].append(topic)
        return [[*line, self.pulse] for line in lines]


@dataclass(frozen=True)
class Pace:
    """How patient a feed is."""

    silence_s: float = 30.0  # without a word for this long, a connection is dead
    asleep_s: float = 30.0  # so much between two words by the clock of the day: this machine slept meanwhile
    pause_s: float = 0.5  # before the first new try
    longest_pause_s: float = 60.0
    connect_s: float = 20.0  # until every topic is acknowledged
    relist_s: float = 3600.0  # between two looks at which contracts there are


_BINANCE = LiquidationFacts(
    topic="{id}@forceOrder",
    whole_market="!forceOrder@arr",
    feed=Feed.SAMPLED,
    price_kind=PriceKind.AVERAGE,
    position_of={"SELL": LONG, "BUY": SHORT},  # the order that closes the position
    push_s=1.0,
    says="at most one order per symbol and second: a lower bound, never a total",
    source="https://developers.binance.com/docs/derivatives/usds-margined-futures/websocket-market-streams/"
    "All-Market-Liquidation-Order-Streams",
)
_BYBIT = LiquidationFacts(
    topic="allLiquidation.{id}",
    whole_market="",
    feed=Feed.COMPLETE,  # since 2025-02; the topic `liquidation` before it was one a second
    price_kind=PriceKind.BANKRUPTCY,
    position_of={"Buy": LONG, "Sell": SHORT},  # the position itself, unlike Binance
    push_s=0.5,
    says="every liquidation, pushed twice a second",
    source="https://bybit-exchange.github.io/docs/v5/websocket/public/all-liquidation",
    characters_a_line=18_000,  # .../docs/v5/ws/connect: 21,000 of `args`, and its quotes and commas may count
)
_OKX = LiquidationFacts(
    topic="liquidation-orders",
    whole_market="liquidation-orders",
    feed=Feed.SAMPLED,
    price_kind=PriceKind.BANKRUPTCY,
    position_of={"sell": LONG, "buy": SHORT},  # the closing order; `posSide` is asked first
    push_s=1.0,
    says="at most one push per contract and second, and not all of what happened: a lower bound",
    source="https://www.okx.com/docs-v5/en/#public-data-websocket-liquidation-orders-channel",
)

_ALL = (
    StreamFacts(
        "binance", "binance", "binanceusdm", "linear", ("USDT", "USDC"), "btcusdt@markPrice@1s", 1000, _BINANCE
    ),
    StreamFacts("binance-coinm", "binance", "binancecoinm", "inverse", (), "btcusd_perp@markPrice@1s", 1000, _BINANCE),
    StreamFacts("bybit", "bybit", "bybit", "linear", ("USDT", "USDC"), "tickers.BTCUSDT", 500, _BYBIT),
    StreamFacts("bybit-inverse", "bybit", "bybit", "inverse", (), "tickers.BTCUSD", 500, _BYBIT),
    StreamFacts("okx", "okx", "okx", "", (), "mark-price:BTC-USDT-SWAP", 400, _OKX),
    StreamFacts(
        "hyperliquid",
        "hyperliquid",
        "hyperliquid",
        "linear",
        ("USDC",),
        "",
        20,
        None,
        {
            "liquidations": "Hyperliquid has no public stream of liquidations: its trades do not say which "
            "were forced, only the fills of a user's own account do"
        },
    ),
)

STREAMS: dict[str, StreamFacts] = {f.name: f for f in _ALL}


def stream_facts(name: str) -> StreamFacts:
    try:
        return STREAMS[name.strip().lower()]
    except KeyError:
        raise NotFound(f"no venue {name!r} to record from; {did_you_mean(name, STREAMS)}") from None
