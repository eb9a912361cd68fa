"""`unwind record`: what venues give only live, into the store."""

from __future__ import annotations

import importlib.util
import json
import signal
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import Parameter

from backtest.cli.options import Db, Json, default_db
from data import clock
from data.errors import BadInput

if TYPE_CHECKING:
    from data.recording.plan import Plan
    from data.recording.status import Status


@Parameter(name="*", show_default=True)
@dataclass(frozen=True)
class Pacing:
    """How often, and by what way."""

    every: Annotated[str, Parameter(help="Between snapshots.")] = "60s"
    flush: Annotated[str, Parameter(name="--flush-every", help="To disk: what a crash may cost.")] = "1s"
    merge: Annotated[str, Parameter(name="--merge-every", help="From the spool into the store.")] = "30s"
    status: Annotated[str, Parameter(name="--status-every", help="Between two lines of news.")] = "10s"
    gateway: Annotated[str, Parameter(help="A proxy of yours that passes /HOST/PATH on to https://HOST/PATH.")] = ""


def record(
    *,
    venue: Annotated[str, Parameter(help="binance, binance-coinm, bybit, bybit-inverse, okx, hyperliquid.")] = "",
    what: Annotated[str, Parameter(help="liquidations, mark, open-interest, depth; several with commas.")] = (
        "liquidations"
    ),
    symbols: Annotated[str, Parameter(help="These contracts alone; without it, every one of the venue.")] = "",
    duration: Annotated[str, Parameter(name="--for", help="Stop after this long, such as 60s or 8h.")] = "",
    raw: Annotated[
        Literal["events", "all", "none"], Parameter(help="Messages kept as they came: events, snapshots too, or none.")
    ] = "events",
    pacing: Pacing = Pacing(),
    merge: Annotated[bool, Parameter(negative="", help="Only bring what is spooled into the store, and end.")] = False,
    db: Db = default_db(),
    as_json: Json = False,
) -> int:
    """Record live: liquidations as they happen, snapshots at an even pace.

    Such as:

        unwind record --venue binance,bybit,okx --what liquidations,mark
        unwind record --venue bybit --symbols BTCUSDT --what liquidations,depth
        unwind record --merge

    Runs until Ctrl-C or SIGTERM, which lose nothing; a crash costs what was
    not flushed. The store can be read meanwhile. No keys are needed.
    Depth is recorded for --symbols, else for BTC and ETH.
    """
    if merge:
        return _merge(db, as_json)
    from data.recording.plan import Plan
    from data.recording.recorder import record as run

    plan = Plan(
        db,
        _words(venue),
        _words(what),
        _words(symbols),
        every_s=_seconds(pacing.every),
        keep=raw,
        flush_s=_seconds(pacing.flush),
        merge_s=_seconds(pacing.merge),
        status_s=_seconds(pacing.status),
        for_s=_seconds(duration) if duration else None,
        gateway=pacing.gateway,
    )
    if importlib.util.find_spec("ccxt") is None:  # before anything is announced or made
        raise BadInput("recording needs ccxt: pip install 'unwind[exchanges]'")
    _announce(plan, as_json)
    status = run(plan, _say_json if as_json else _say, (signal.SIGINT, signal.SIGTERM))
    (_say_json if as_json else _say)(status)
    return 1 if status.refused else 0


def _announce(plan: Plan, as_json: bool) -> None:
    place = sys.stderr if as_json else sys.stdout
    print(f"recording into {plan.store}, by way of {plan.spool.name}; Ctrl-C ends it", file=place)
    for remark in plan.remarks:
        print(f"note: {remark}", file=place, flush=True)


def _say(status: Status) -> None:
    print(status, flush=True)


def _say_json(status: Status) -> None:
    print(json.dumps(status.plain(), ensure_ascii=False), flush=True)


def _merge(db: Path, as_json: bool) -> int:
    from data.recording.recorder import merge_now

    done = merge_now(db)
    print(json.dumps(done.plain(), ensure_ascii=False) if as_json else done)
    return 1 if done.refused or done.busy else 0


def _words(text: str) -> tuple[str, ...]:
    return tuple(w.strip() for w in text.split(",") if w.strip())


def _seconds(text: str) -> float:
    return clock.duration(text) / clock.SECOND
