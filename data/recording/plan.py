"""What to record, of whom, and how often to do what."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from data.errors import BadInput, did_you_mean
from data.recording.spool import spool_of
from data.sources.stream_facts import Pace, StreamFacts, stream_facts

WHAT = {"liquidations": "liquidations", "mark": "marks", "open-interest": "open_interest", "depth": "depth"}
KEEP = ("events", "all", "none")


@dataclass(frozen=True)
class Plan:
    """What to record and how often to do what."""

    store: Path
    venues: tuple[str, ...]
    what: tuple[str, ...] = ("liquidations",)
    symbols: tuple[str, ...] = ()
    every_s: float = 60.0  # between snapshots
    keep: str = "events"  # messages kept as they came
    flush_s: float = 1.0
    merge_s: float = 30.0
    status_s: float = 10.0
    for_s: float | None = None
    gateway: str = ""
    pace: Pace = field(default_factory=Pace)

    def __post_init__(self) -> None:
        if not self.venues or not self.what:
            raise BadInput("say what to record: --venue binance,bybit --what liquidations,open-interest")
        for word in self.what:
            if word not in WHAT:
                raise BadInput(f"--what {word!r} is nothing to record; {did_you_mean(word, WHAT)}")
        if self.keep not in KEEP:
            raise BadInput(f"--raw {self.keep!r}: write {', '.join(KEEP)}")
        for name in ("flush", "merge", "every", "status"):
            if (value := getattr(self, f"{name}_s")) <= 0:
                raise BadInput(f"{name} is {value:g} s: it must be more than nothing")
        if not any(set(self.what) - set(f.lacks) for f in self.facts):
            raise BadInput("; ".join(self.remarks))

    @property
    def facts(self) -> list[StreamFacts]:
        return [stream_facts(name) for name in dict.fromkeys(self.venues)]

    @property
    def remarks(self) -> list[str]:
        """What to know of the feeds before believing them."""
        out = []
        for f in self.facts:
            out += [f"{f.name}: {why}" for what, why in f.lacks.items() if what in self.what]
            if f.liquidations is not None and "liquidations" in self.what:
                out.append(f"{f.name}: {f.liquidations.says}")
        return out

    @property
    def spool(self) -> Path:
        return spool_of(self.store)
