"""A fetch to be killed: `killed_fetch.py <store> <url>` fetches 5m bars, in transactions of a few pages."""

from __future__ import annotations

import sys
from dataclasses import replace

from venue_server.case import QUICK, client_of, hours_before_now, wish

from data.fetching.job import plan, run
from data.sources.venue_facts import What
from data.store import Store

ASKED = wish("binance", [What.CANDLES, What.MARK, What.FUNDING], hours_before_now(800))


def main(path: str, url: str) -> None:
    store = Store(path)
    client = client_of("binance", url, replace(QUICK, timeout_s=20.0))
    run(store, plan(store, ASKED, [client]), workers=2, transaction_rows=1500)


if __name__ == "__main__":
    main(*sys.argv[1:])
