"""The simulated market as a source of the store (data.sources): what `unwind synth` hands to `ingest`.

One `Piece` for each coin and each thirty days, the coins of a pair in turn. A piece that is stored is not read, and
where all of a coin's are, nothing is simulated. Where some are missing, the coin is run again from its beginning, as
each minute follows from the one before, and only what is missing is written.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, partial

from backtest.cli.synth_rows import Recorder
from backtest.crowd.market import COINS, VENUE, Simulated
from backtest.jit import source_hash
from data.clock import DAY, iso
from data.rows import Batch, Origin, recipe_of
from data.sources import Piece

PART_DAYS = 30
AT_A_TIME = 2  # coins
SOURCES = (
    "crowd/kernel/*.py", "crowd/world.py", "crowd/machine.py", "crowd/seeding.py", "crowd/truth.py", "crowd/market.py",
    "margin.py", "rules.py", "cli/synth_rows.py",
)  # fmt: skip
FEEDS = ("candles", "funding", "open_interest", "liquidations", "adl", "ratios", "depth", "insurance")


@dataclass(frozen=True)
class Part:
    """Thirty days (or what is left) of one coin."""

    market: Simulated
    number: int
    index: int
    days: int = PART_DAYS

    @property
    def covers(self) -> tuple[int, int]:
        first = self.market.start + self.index * self.days * DAY
        return first, min(first + self.days * DAY, self.market.end)

    @property
    def is_last(self) -> bool:
        return self.covers[1] == self.market.end

    @property
    def name(self) -> str:
        first, end = (iso(t)[:10] for t in self.covers)
        return f"{VENUE} {COINS[self.number].base} {first} to {end}, of {arguments(self.market)}"

    @property
    def tables(self) -> tuple[str, ...]:
        """What it fills, known before it is run."""
        first, end = self.covers
        dated = any(first <= self.market.start + day * DAY < end for day, _ in self.market.tiers(self.number))
        return (
            *(("instruments",) if self.index == 0 else ()),
            *(("tiers",) if dated else ()),
            *FEEDS,
            *(("truth",) if self.is_last else ()),
        )

    @property
    def origin(self) -> Origin:
        return Origin(
            source=VENUE,
            name=self.name,
            sha256=hashlib.sha256(self.name.encode()).hexdigest(),
            recipe=recipe(self.market, self.number),
            covers=self.covers,
            symbols=(COINS[self.number].symbol,),
            tables=self.tables,
            venue=VENUE,
        )


@cache
def recipe(market: Simulated, number: int) -> str:
    """Of the coin's world and of all code that makes rows of it: another version of either is another history."""
    return recipe_of(VENUE, source_hash(SOURCES), market.world(number))


def arguments(market: Simulated) -> str:
    """What a history depends on besides the coin."""
    return f"start={iso(market.start)[:10]} days={market.days} seed={market.seed} accounts={market.accounts}"


def parts_of(market: Simulated, number: int, days: int = PART_DAYS) -> list[Part]:
    return [Part(market, number, i, days) for i in range(-(-market.days // days))]


class Synthetic:
    """The source: coins two at a time, each part by part."""

    def __init__(self, market: Simulated, *, part_days: int = PART_DAYS, at_a_time: int = AT_A_TIME) -> None:
        self.market, self.part_days, self.workers = market, part_days, at_a_time
        self.key = f"{VENUE} {arguments(market)}"

    def __len__(self) -> int:
        return self.market.symbols * len(parts_of(self.market, 0, self.part_days))

    def __iter__(self) -> Iterator[Piece]:
        for first in range(0, self.market.symbols, self.workers):
            some = range(first, min(first + self.workers, self.market.symbols))
            coins = [_Coin(self.market, number, self.part_days) for number in some]
            for index in range(len(coins[0].parts)):
                for coin in coins:
                    part = coin.parts[index]
                    yield Piece(part.origin, part.tables, partial(coin.read, index))


class _Coin:
    """Runs one coin when the first of its parts is asked for. Parts are asked for in order, or nearly."""

    def __init__(self, market: Simulated, number: int, part_days: int) -> None:
        self.market, self.number = market, number
        self.parts = parts_of(market, number, part_days)
        self.turn = threading.Lock()
        self.done = 0
        self.ready: dict[int, Batch] = {}  # made for another thread, which is about to ask
        self.batches: Iterator[Batch] | None = None

    def read(self, index: int) -> Batch:
        with self.turn:
            if index in self.ready:
                return self.ready.pop(index)
            if self.batches is None or index < self.done:
                self.batches, self.done = self._run(), 0
            while True:
                batch = next(self.batches)
                self.done += 1
                if self.done > index:
                    break
                self.ready = {i: b for i, b in self.ready.items() if i > self.done - 3} | {self.done - 1: batch}
            if self.done == len(self.parts):
                self.batches = None  # a crowd takes room
            return batch

    def _run(self) -> Iterator[Batch]:
        run = self.market.run(self.number)
        recorder = Recorder(run, self.number)
        for part, history in zip(self.parts, run.parts(self.parts[0].days), strict=True):
            yield Batch(recorder.rows(history, first=part.index == 0, last=part.is_last), (part.origin,))
