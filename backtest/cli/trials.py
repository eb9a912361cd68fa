"""`unwind trials`: everything that was tried on the markets of a store, by strategy and by market."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backtest.cli.options import Db, Json, default_db, print_json, print_table
from data import clock
from data.errors import BadInput, NotFound, did_you_mean

if TYPE_CHECKING:
    import polars as pl

    from backtest.trials import Register

DAYS_A_YEAR = 365.0
NONE_YET = "No trial is noted: `unwind run`, `unwind sweep`, `unwind walkforward` and notebooks note theirs."


def trials(
    *,
    symbols: Annotated[str, Parameter(help="Only those that overlap these, with commas: BTC/USDT:USDT.")] = "",
    venue: Annotated[str, Parameter(help="Of the symbols, where several venues have them.")] = "",
    start: Annotated[str, Parameter(name="--from", help="Overlap this moment or later ones.")] = "",
    end: Annotated[str, Parameter(name="--to", help="Overlap earlier moments than this.")] = "",
    start_afresh: Annotated[
        bool, Parameter(negative="", help="Count only what follows. What was tried stays noted, and reports say so.")
    ] = False,
    db: Db = default_db(),
    as_json: Json = False,
) -> None:
    """What has been tried: every parameter set that was simulated on stored bars.

    Such as:

        unwind trials
        unwind trials --symbols BTC/USDT:USDT --from 2024-01-01

    The more was tried on a market, the better the best looks by luck alone:
    a deflated Sharpe ratio takes all trials that overlap it into account,
    whatever the strategy was and however often it was edited. `worth` is the
    number of different ones: neighbours in a grid are not as many trials.
    """
    from backtest.cli.stored import HOW_TO_FILL, existing
    from backtest.trials import Register

    store = existing(db)
    if store is None:
        raise NotFound(f"there is no store yet: {db}. {HOW_TO_FILL}")
    register = Register(store.register)
    if start_afresh:
        _afresh(register, symbols or venue or start or end, as_json)
        return
    place = _place(register, symbols, venue, start, end)
    facts = _facts(register, place)
    if as_json:
        print_json(facts)
        return
    _tell(facts)
    if register.folder.is_dir():
        print(f"Noted in  {register.folder}")


def _afresh(register: Register, part: str, as_json: bool) -> None:
    if part:
        raise BadInput("--start-afresh is of the whole store: leave --symbols and the like out")
    left = register.start_afresh()
    if as_json:
        print_json({"afresh": clock.iso(register.afresh or 0), "left_out": left})
        return
    print(f"Counted afresh from now on: {left:,} trials stay noted, and no longer count. Reports will say so.")
    print("The market has not forgotten them: what they taught you is in what you try next.", file=sys.stderr)


@dataclass(frozen=True)
class Place:
    """As much of a market as the register asks for."""

    venue: str
    symbols: tuple[str, ...]
    start: int
    end: int


def _place(register: Register, symbols: str, venue: str, start: str, end: str) -> Place | None:
    """What was asked for; None: everything."""
    if not (symbols or venue or start or end):
        return None
    if not symbols:
        raise BadInput("--venue, --from and --to are of symbols: name them with --symbols")
    found = register.table()
    if venue and venue not in (venues := set(found["venue"])):
        raise NotFound(f"no trial is on venue {venue!r}: {did_you_mean(venue, venues)}")
    names = tuple(_name_of(found, text.strip(), venue) for text in symbols.split(",") if text.strip())
    on = {v for v, there in zip(found["venue"], found["symbols"].to_list(), strict=True) if set(names) & set(there)}
    if not venue and len(on) > 1:
        raise BadInput(f"{symbols} was traded on {', '.join(sorted(on))}: say which with --venue")
    first = clock.moment(start) if start else int(found["first"].min())  # type: ignore[arg-type]
    last = clock.moment(end) if end else int(found["last"].max())  # type: ignore[arg-type]
    return Place(venue or on.pop(), names, first, last)


def _name_of(found: pl.DataFrame, text: str, venue: str) -> str:
    from data.symbols import unified

    known = {symbol for symbols in found["symbols"].to_list() for symbol in symbols}
    venues = [venue] if venue else sorted(set(found["venue"]))
    name = next((n for n in (text, *(unified(text, v) for v in venues)) if n in known), None)
    if name is None:
        raise NotFound(f"no trial is on {text}: {did_you_mean(text, known)}")
    return name


# ---- facts -------------------------------------------------------------------------------------------


def _facts(register: Register, place: Place | None) -> dict[str, Any]:
    """`trials` count, those before a fresh start are `left_out`; the same set on several markets is one."""
    from backtest.trials import count_of

    asked: Any = place
    counts, since, left = register.counting(asked)
    return {
        "trials": counts.height,
        "worth": count_of(counts).effective,
        "afresh": None if since is None else clock.iso(clock.floor(since, clock.SECOND)),
        "left_out": left,
        "strategies": _strategies(counts),
        "markets": _markets(register, counts),
    }


def _strategies(found: pl.DataFrame) -> list[dict[str, Any]]:
    """The most trials first."""
    from backtest.trials import count_of

    rows = []
    for part in found.partition_by("strategy"):
        count = count_of(part)
        rows.append(
            {
                "strategy": part["strategy"][0],
                "trials": count.number,
                "worth": count.effective,
                "best_sharpe": count.best * DAYS_A_YEAR**0.5,
                "versions": part["source"].n_unique(),
                "from": clock.iso(_least(part, "first")),
                "to": clock.iso(_most(part, "last")),
                "latest": clock.iso(clock.floor(_most(part, "at"), clock.MINUTE)),
            }
        )
    return sorted(rows, key=lambda row: (-row["trials"], row["strategy"]))


def _markets(register: Register, found: pl.DataFrame) -> list[dict[str, Any]]:
    """What was traded, and how many trials overlap it: its own, and others that share a symbol and a day."""
    import polars as pl

    rows = []
    keyed = found.with_columns(pl.col("symbols").list.join(", ").alias("on"))
    for part in keyed.partition_by("venue", "on"):
        place: Any = Place(
            part["venue"][0], tuple(part["symbols"][0].to_list()), _least(part, "first"), _most(part, "last")
        )
        count = register.count(place)
        rows.append(
            {
                "venue": place.venue,
                "symbols": part["on"][0],
                "from": clock.iso(place.start),
                "to": clock.iso(place.end),
                "overlapping": count.number,
                "worth": count.effective,
            }
        )
    return sorted(rows, key=lambda row: (-row["overlapping"], row["venue"], row["symbols"]))


def _least(part: pl.DataFrame, column: str) -> int:
    return int(part[column].min())  # type: ignore[arg-type]


def _most(part: pl.DataFrame, column: str) -> int:
    return int(part[column].max())  # type: ignore[arg-type]


def _tell(facts: dict[str, Any]) -> None:
    if facts["afresh"] is not None:
        print(f"Counted afresh since {facts['afresh']}: {facts['left_out']:,} earlier trials are left out.")
    if not facts["trials"]:
        print(NONE_YET)
        return
    print_table([{**row, "worth": round(row["worth"], 1)} for row in facts["strategies"]])
    print_table([{**row, "worth": round(row["worth"], 1)} for row in facts["markets"]], title="Trials that overlap")
    print(f"{facts['trials']:,} trials, worth {facts['worth']:,.1f} independent ones.")
