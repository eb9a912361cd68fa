"""`unwind stress`: what a shock does to a venue and its crowd."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from backtest.cli.options import Db, Json, default_db, print_json, print_table
from backtest.cli.stored import HOW_TO_FILL, existing
from backtest.cli.talk import is_quiet
from data.errors import BadInput, NotFound

if TYPE_CHECKING:
    from backtest.crowd.machine import Machine
    from backtest.crowd.shock import Shock
    from backtest.crowd.world import Policy
    from data.market import Market


@Parameter(name="*", show_default=False)
@dataclass(frozen=True)
class State:
    """Whose market it is."""

    symbol: Annotated[str, Parameter(help="Estimate the crowd of this symbol of the store.")] = ""
    at: Annotated[str, Parameter(help="With --symbol: the moment; without it, the last bar.")] = ""
    interval: Annotated[str, Parameter(help="With --symbol: bars to read, such as 5m where there are no minutes.")] = (
        "1m"
    )
    source: Annotated[str, Parameter(help="With --symbol: the venue whose data it is.")] = ""
    accounts: Annotated[int, Parameter(help="Accounts of the crowd.")] = 20_000
    seed: Annotated[int, Parameter(help="Of the crowd.")] = 7


@Parameter(name="*", show_default=False)
@dataclass(frozen=True)
class Hit:
    """What comes from outside."""

    shock: Annotated[
        float, Parameter(help="Size of the move in percent, such as -10.", allow_leading_hyphen=True)
    ] = -10.0
    minutes: Annotated[int, Parameter(help="In how many minutes; 1 is at once.")] = 1
    replay: Annotated[str, Parameter(help="Instead: FROM..TO of --symbol, replayed minute by minute.")] = ""
    haircut: Annotated[float, Parameter(help="Percent of the crowd's collateral that is gone at once.")] = 0.0
    hours: Annotated[float, Parameter(help="How long to go on.")] = 6.0
    still: Annotated[bool, Parameter(help="The crowd decides nothing, it only gets closed.", negative="")] = False


@Parameter(name="*", show_default=False)
@dataclass(frozen=True)
class Rules:
    """The venue's side."""

    venue: Annotated[str, Parameter(help="Profile: sim, binance, bybit, okx, hyperliquid, dydx, ...")] = ""
    adl: Annotated[str, Parameter(help="queue, pro_rata, capped, capped_then_size or min_max.")] = "queue"
    fund: Annotated[float, Parameter(help="Insurance fund, percent of the crowd's money.")] = 1.0
    leverage_cap: Annotated[float, Parameter(help="Highest leverage the crowd may have gathered with.")] = 0.0
    maintenance: Annotated[float, Parameter(help="Times the venue's maintenance rates.")] = 1.0
    depth: Annotated[float, Parameter(help="Quote currency within 1 %; without it, the state's.")] = 0.0


def stress(
    *,
    state: State = State(),
    hit: Hit = Hit(),
    rules: Rules = Rules(),
    futures: Annotated[int, Parameter(help="Also so many random futures of a day: chances, with intervals.")] = 0,
    sensitivity: Annotated[bool, Parameter(help="Also the shock under other rules, as a table.", negative="")] = False,
    html: Annotated[Path | None, Parameter(help="Write figures into this page, which needs no network.")] = None,
    db: Db = default_db(),
    as_json: Json = False,
) -> None:
    """Shock a venue: liquidations in waves, the insurance fund, deleveraging, with the feedback and without.

    Such as:

        unwind stress --shock -10
        unwind stress --shock -15 --minutes 30 --venue hyperliquid --adl pro_rata --html stress.html
        unwind stress --symbol BTCUSDT --at 2025-10-10 --replay 2025-10-10T20:50..2025-10-10T22:00
        unwind stress --futures 400 --sensitivity

    Without --symbol a crowd gathers in the simulated market first. With it, the crowd is estimated from the stored
    open interest and prices of that symbol: an estimate, and a rough one.
    """
    from backtest.crowd.stress import stress as run

    _check(state, hit, futures, sensitivity)
    market = _market(state, db) if state.symbol else None
    shock = _shock(hit, market)
    start = _start(state, hit, market, rules)
    found = run(
        start, shock, hours=hit.hours, crowd="still" if hit.still else "reacts", haircut=hit.haircut / 100.0
    )  # fmt: skip
    odds = _futures(start, futures, state.seed) if futures else None
    table = _sensitivity(start, shock, hit.hours) if sensitivity else None
    if html is not None:
        _write(html, found, odds, table)
    if as_json:
        print_json(_facts(found, odds, table))
        return
    print(found)
    print_table([{"": name, "value": _text(name, value)} for name, value in found.summary.items()])
    if len(found.hit):
        print_table([{"closed by ADL": who} | dict(row) for who, row in found.hit.iterrows()])
    if odds is not None:
        print_table([{"within a day": name, **row} for name, row in odds.table.to_dict("index").items()])
        size = odds.required_fund(0.01)
        high = f"{size.high:,.0f}" if size.high < float("inf") else "more futures would say"
        print(f"Fund that is too small in 1 of 100 days: {size.fund:,.0f} ({size.low:,.0f} to {high})")
    if table is not None:
        print_table([{"rule": r, "value": v, **row} for (r, v), row in table.to_dict("index").items()])
    if html is not None:
        print(f"Page   {html}")


SHARES = ("move", "part of", "lost", "left", "share")
COUNTS = ("waves", "accounts", "minutes")


def _text(name: str, value: float) -> str:
    """Moves and parts in percent, money in millions."""
    if value != value:
        return "-"
    if any(word in name for word in SHARES):
        return f"{value:.1%}"
    if name in ("amplification", "R0"):
        return f"{value:.2f}"
    if any(word in name for word in COUNTS):
        return f"{value:,.0f}"
    return f"{value / 1e6:,.2f} M"


def _market(state: State, db: Path) -> Market:
    store = existing(db)
    if store is None:
        raise NotFound(f"there is no store {db}: {HOW_TO_FILL}")
    return store.market(state.symbol, state.interval, venue=state.source or None)


def _check(state: State, hit: Hit, futures: int, sensitivity: bool) -> None:
    """Mistakes that can be seen before a crowd gathers."""
    if not state.symbol and (state.at or state.source or hit.replay):
        raise BadInput("--at, --source and --replay are of stored data: name its --symbol")
    if state.symbol and sensitivity:
        raise BadInput("--sensitivity grows a crowd under each rule, so it goes without --symbol")
    if futures < 0:
        raise BadInput(f"--futures {futures}: write how many, such as 400")


def _start(state: State, hit: Hit, market: Market | None, rules: Rules) -> Machine:
    """The state under the venue, policy and depth asked for: what is shocked, and what the futures are of."""
    from backtest.crowd.stress import prepared
    from backtest.crowd.world import Crowd, World

    policy, depth, venue = _policy(rules), rules.depth or None, rules.venue or None
    if market is None:
        world = World(crowd=Crowd(accounts=state.accounts), policy=policy)
        if not is_quiet():
            print(f"a crowd of {state.accounts:,} accounts gathers ...", file=sys.stderr)
        return prepared(world, venue, None, depth, state.seed)
    moment = state.at or hit.replay.partition("..")[0] or None
    return prepared(market, venue, policy, depth, state.seed, at=moment, accounts=state.accounts)


def _policy(rules: Rules) -> Policy:
    import math

    from backtest.crowd.world import Policy

    return Policy(
        adl=rules.adl,  # type: ignore[arg-type]  # checked when made
        fund=rules.fund / 100.0,
        leverage_cap=rules.leverage_cap or math.inf,
        maintenance=rules.maintenance,
    )


def _shock(hit: Hit, market: Market | None) -> Shock:
    from backtest.crowd.shock import Shock

    if hit.replay and market is not None:
        start, dots, end = hit.replay.partition("..")
        if not dots:
            raise BadInput(f"--replay {hit.replay}: write FROM..TO, such as 2025-10-10T20:50..2025-10-10T22:00")
        return Shock.replay(market, start, end)
    if hit.minutes == 1:
        return Shock.instant(hit.shock / 100.0)
    return Shock.ramp(hit.shock / 100.0, hit.minutes)


def _futures(start: Machine, runs: int, seed: int) -> Any:
    from backtest.crowd.montecarlo import futures

    return futures(start, 24.0, runs, seed=seed)


def _sensitivity(start: Machine, shock: Shock, hours: float) -> Any:
    from backtest.crowd.montecarlo import sensitivity

    return sensitivity(start.world, shock, hours=hours)


def _facts(found: Any, odds: Any, table: Any) -> dict[str, Any]:
    facts = {"shock": found.shock.name, "venue": found.venue, "summary": found.summary}
    facts["hit"] = found.hit.to_dict("index")
    if odds is not None:
        facts["futures"] = odds.table.to_dict("index")
        facts["required_fund"] = odds.required_fund(0.01)
    if table is not None:
        facts["sensitivity"] = [{"rule": r, "value": v, **row} for (r, v), row in table.to_dict("index").items()]
    return facts


def _write(page: Path, found: Any, odds: Any, table: Any) -> None:
    from backtest.crowd import figures

    drawn = [found.plot()]
    drawn += [figures.futures(odds)] if odds is not None else []
    drawn += [figures.sensitivity(table)] if table is not None else []
    parts = [f.to_html(full_html=False, include_plotlyjs=n == 0) for n, f in enumerate(drawn)]
    head = '<!doctype html><html lang="en"><meta charset="utf-8"><title>Unwind stress test</title>'
    body = f"<p style='font:14px/1.5 system-ui;white-space:pre-line;margin:1rem'>{found}</p>"
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(head + body + "".join(parts) + "</html>", encoding="utf-8")
