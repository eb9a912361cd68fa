"""`unwind fetch`: history from an exchange's own interface, only what the store lacks."""

from __future__ import annotations

import re
import sys
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import urlsplit

from cyclopts import Parameter

from backtest.cli.options import Db, Json, default_db, print_json, print_table
from data.errors import BadInput, NotFound

if TYPE_CHECKING:
    from data.fetching.job import Done, Job
    from data.sources.ccxt_rest import VenueClient
    from data.store import Store


@Parameter(name="*", show_default=False)
@dataclass(frozen=True)
class Asking:
    """How the venue is asked."""

    workers: Annotated[int, Parameter(help="Requests under way at a time.")] = 4
    rate: Annotated[float, Parameter(help="How much of the venue's rate limit to use; 0.5 is half of it.")] = 1.0
    url: Annotated[str, Parameter(help="Another address for the venue, such as a proxy of your own.")] = ""
    timeout: Annotated[float, Parameter(help="Seconds to wait for an answer.")] = 20.0
    again: Annotated[bool, Parameter(negative="", help="Ask also for what the venue said it does not have.")] = False


def fetch(
    *,
    venue: Annotated[str, Parameter(help="binance (USD-M and COIN-M), bybit, okx or hyperliquid.")],
    symbols: Annotated[str, Parameter(help="Contracts, such as BTC/USDT:USDT,ETH/USDT:USDT or BTCUSDT.")],
    since: Annotated[str, Parameter(name=("--since", "--from"), help="First moment wanted, such as 2024-01-01.")],
    until: Annotated[str, Parameter(name=("--until", "--to"), help="First moment not wanted; without it, now.")] = "",
    what: Annotated[
        str,
        Parameter(
            help="candles, mark, index, premium, funding, open-interest, ratios, tiers, instruments; several with "
            "commas."
        ),
    ] = "candles,mark,funding,instruments",
    interval: Annotated[str, Parameter(help="Length of the bars.")] = "1m",
    dry_run: Annotated[bool, Parameter(negative="", help="Say what would be asked for, and stop.")] = False,
    asking: Asking = Asking(),
    db: Db = default_db(),
    as_json: Json = False,
) -> int:
    """Fetch history from an exchange into the store, only what is missing.

    Such as:

        unwind fetch --venue binance --symbols BTC/USDT:USDT,ETH/USDT:USDT \\
            --since 2024-01-01 --what candles,mark,funding --interval 1m

    Holes in what is stored are filled, and the same command goes on where
    it stopped. The bar that is still open is never stored. What a venue
    cannot serve is said before anything is asked for.
    """
    from data import clock
    from data.fetching.asked import Wish, things_of
    from data.store import Store

    wish = Wish(
        tuple(dict.fromkeys(s.strip() for s in symbols.split(",") if s.strip())),
        things_of(what),
        clock.moment(since),
        clock.moment(until) if until else None,
        clock.duration(interval),
    )
    clients = _clients(venue, asking)
    from data.fetching.job import plan, run  # loads ccxt, which `_clients` has found to be there

    store = Store(db)
    job = plan(store, wish, clients, asking.again)
    if dry_run:
        _say_plan(job, as_json)
        return 0
    for note in () if as_json else job.notes:
        print(f"note: {note}")
    bar = _Bar(job.requests) if sys.stderr.isatty() and not as_json else None
    with bar or nullcontext():
        done = run(store, job, bar, asking.workers)
    _say(store, job, done, as_json)
    return done.report.exit_code


def _clients(venue: str, asking: Asking) -> list[VenueClient]:
    from data.sources.venue_table import parts

    if asking.workers < 1:
        raise BadInput(f"--workers {asking.workers}: at least 1 request is under way at a time")
    if asking.rate <= 0 or asking.timeout <= 0:
        raise BadInput("--rate and --timeout are above zero")
    if asking.url and not urlsplit(asking.url).netloc:
        raise BadInput(f"--url {asking.url!r} is no address: write http://host or https://host")
    interfaces = parts(venue)  # a wrong name is said before ccxt is loaded
    try:
        from data.sources.ccxt_rest import VenueClient
    except ModuleNotFoundError as missing:
        raise NotFound(f"fetching needs {missing.name}: pip install 'unwind[exchanges]'") from None
    from data.sources.manners import Manners, Pace, is_loopback
    from data.sources.venue_keys import keys_of

    manners = Manners(asking.url, asking.rate, asking.timeout)
    keys = {v.name: keys_of(v.keys) if v.keys else None for v in interfaces}
    if any(keys.values()) and asking.url.startswith("http://") and not is_loopback(asking.url):
        raise BadInput(f"--url {asking.url}: a key is sent only over https; unset it, or name an https address")
    pace = Pace()
    return [VenueClient(v, manners, keys[v.name], pace) for v in interfaces]


class _Bar:
    """Requests and rows so far, and how long it will take."""

    def __init__(self, total: int) -> None:
        from tqdm.auto import tqdm

        self._rows = 0
        self._bar: Any = tqdm(total=total, unit=" requests", dynamic_ncols=True)

    def page(self, rows: int) -> None:
        self._rows += rows
        self._bar.set_postfix_str(f"{self._rows:,} rows", refresh=False)
        self._bar.update(1)

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()


def _say_plan(job: Job, as_json: bool) -> None:
    lines = job.table()
    rows, requests = sum(line["rows"] for line in lines), job.requests + job.now_requests
    if as_json:
        print_json({"plan": lines, "requests": requests, "rows": rows, "notes": list(job.notes)})
        return
    for note in job.notes:
        print(f"note: {note}")
    if lines:
        print_table(lines)
    print(f"{requests:,} request{'' if requests == 1 else 's'} for about {rows:,} rows; no history was asked for")


def _say(store: Store, job: Job, done: Done, as_json: bool) -> None:
    from backtest.cli.import_ import stored_spans

    report = done.report
    stored = list(stored_spans(store, report.written))
    if as_json:
        told = {"requests": job.requests, **report.as_dict(), "notes": list(job.notes), "remarks": done.remarks}
        print_json({**told, "stored": stored})
        return
    if not report.files:
        print("nothing is missing")
    else:
        print(re.sub(r"\bfile(s?)\b", r"page\1", str(report)))
    for remark in done.remarks:
        print(f"note: {remark}")
    for s in stored:
        span = f"{s['first']:%Y-%m-%d %H:%M} to {s['last']:%Y-%m-%d %H:%M}"
        print(f"{s['table']} of {s['venue']} now: {s['rows']:,} rows, {span}")
    print(f"store: {Path(store.path)}")
