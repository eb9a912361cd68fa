"""The HTML page: one file that holds everything it shows, its own plotly.js included, and asks no network for
anything.

`page(market, holds)` gives the text, `write_page(path, ...)` a file. `runs=` adds simulated runs to the section of
their symbol. In steps:

1. what is said in words and numbers is reckoned here, on every bar;
2. charts are plain dicts (`charts`), their points thinned for the eye;
3. plotly.js is read from the installed wheel and laid into the page gzipped; a sealed Content-Security-Policy
   forbids every request;
4. jinja2 escapes all text; JSON inside the script has `<` as `\\u003c`, so that no name can end the script.

The page has no date of its making: the same data gives the same bytes.
"""

from __future__ import annotations

import base64
import functools
import gzip
import importlib.util
import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from backtest.hold import Hold
from backtest.report import charts
from data import clock
from data.errors import BadInput, UnwindError

if TYPE_CHECKING:
    from backtest.result import Result
    from data.market import Market

Array = npt.NDArray[np.float64]
HERE = Path(__file__).parent

SHOWN = (
    ("open, high, low, close", "close"),
    ("volume", "volume"),
    ("mark price", "mark_close"),
    ("index price", "index"),
    ("premium index", "premium"),
    ("funding, last settled rate", "funding_8h"),
    ("open interest", "open_interest"),
    ("liquidations", "liq_long"),
    ("long/short ratio, accounts", "ratio_accounts"),
    ("taker ratio", "taker_ratio"),
    ("order book depth, 1 %", "bid_depth_1pct"),
)


@dataclass(frozen=True)
class Tile:
    what: str
    number: str
    note: str
    tone: str = ""


RUN_MEASURES = (
    "total_return",
    "max_drawdown",
    "trades",
    "win_rate",
    "fees",
    "funding",
    "slippage",
    "liquidations",
    "liquidation_loss",
    "min_margin_distance",
)
ROWS = 8  # of a table of trades or liquidations

Runs = Sequence[tuple[str, "Result"]]


def page(
    market: Market,
    holds: Sequence[Hold],
    *,
    runs: Runs = (),
    title: str = "Buying and keeping",
    made_up: bool = False,
) -> str:
    """The page of one market: for each symbol, what positions kept from the first bar to the last would have made.

    `runs`: (name, result) of simulations of one symbol each, shown beside the holds of that symbol.
    """
    import jinja2
    import markupsafe

    if not holds:
        raise BadInput("a page needs at least one hold")
    symbols = list(dict.fromkeys(h.symbol for h in holds))
    _check_runs(runs, symbols)
    sections = [
        _section(market, [h for h in holds if h.symbol == s], [r for r in runs if r[1].symbols == (s,)], f"s{i}")
        for i, s in enumerate(symbols)
    ]
    drawn = [chart for section in sections for chart in section["charts"]]
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    template = environment.from_string((HERE / "page.html").read_text(encoding="utf-8"))
    return template.render(
        title=title,
        lead="What a position that is paid for in full would have made, and the leverage in the market around it."
        + (" Then what trading it with margin made." if runs else ""),
        made_up=made_up,
        identity=_identity(market, symbols, holds),
        sections=sections,
        version=version("unwind"),
        charts_json=markupsafe.Markup(_script_json([{"id": c.id, "data": c.data, "layout": c.layout} for c in drawn])),
        plotly_gz=_plotly(),
    )


def write_page(path: str | Path, market: Market, holds: Sequence[Hold], **options: Any) -> Path:
    """`page` into a file; the folder is made."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(page(market, holds, **options), encoding="utf-8")
    return path


# What is said.


def _identity(market: Market, symbols: Sequence[str], holds: Sequence[Hold]) -> list[tuple[str, str]]:
    fewest = min(market.coverage.of("close", s).present for s in symbols)
    return [
        ("Venue", market.venue),
        ("Symbols", ", ".join(symbols)),
        ("Span (UTC)", f"{clock.iso(market.start)} to {clock.iso(market.end)}"),
        ("Bars", f"{len(market):,} of {market.interval_label}"),
        ("Bars present", _share(fewest, len(market) - fewest)),
        ("Position", f"{holds[0].capital:,.0f} {_money_of(symbols[0])} each"),
        ("Data", market.hash[:12]),
    ]


def _check_runs(runs: Runs, symbols: Sequence[str]) -> None:
    for name, result in runs:
        if len(result.symbols) != 1 or result.symbols[0] not in symbols:
            raise BadInput(
                f"the run {name!r} is of {', '.join(result.symbols)}: "
                f"a page shows runs of one symbol that it holds ({', '.join(symbols)})"
            )


def _section(market: Market, holds: Sequence[Hold], runs: Runs, anchor: str) -> dict[str, Any]:
    one = market.select([holds[0].symbol])
    money = _money_of(holds[0].symbol)
    long = next((h for h in holds if h.side > 0), holds[0])
    return {
        "anchor": anchor,
        "symbol": holds[0].symbol,
        "verdict": " ".join(_sentence(h) for h in holds),
        "tiles": [*(_result(h) for h in holds), *_funding_tiles(long, money), *_market_tiles(one, money)],
        "charts": [*_charts(one, holds, long, anchor, money), *_run_charts(runs, anchor)],
        "runs": _runs(runs) if runs else None,
        "coverage": _coverage(one),
        "warnings": [
            *one.warnings,
            *(w for h in holds for w in h.warnings()),
            *(f"{name}: {w}" for name, result in runs for w in result.warnings),
        ],
        "assumptions": [
            *_assumptions(holds[0], money),
            *dict.fromkeys(f"With margin: {a}" for _, result in runs for a in result.assumptions),
        ],
    }


def _sentence(hold: Hold) -> str:
    did = "Buying and keeping it" if hold.side > 0 else "Selling it short and holding on"
    net, parts = hold.total_return, {"price": hold.price, "funding": hold.funding, "the entry fee": hold.fees}
    made = "made" if net >= 0 else "lost"
    if hold.ruined_at is not None:
        return f"{did} lost everything: the wallet was empty at {clock.iso(hold.ruined_at)}."
    sums = ", ".join(f"{_percent(series[-1] / hold.capital)} from {name}" for name, series in parts.items())
    return f"{did} {made} {abs(net):.2%}: {sums}."


def _result(hold: Hold) -> Tile:
    note = f"deepest drawdown {hold.max_drawdown:.1%}"
    return Tile(f"{hold.name.capitalize()}, net", _percent(hold.total_return), note, _tone(hold.total_return))


def _funding_tiles(long: Hold, money: str) -> list[Tile]:
    flows = long.funding_flows[1]
    turned = 1 if long.side > 0 else -1
    paid = turned * long.funding[-1] / long.capital
    who = "longs paid shorts" if paid < 0 else "shorts paid longs"
    return [
        Tile("Funding, to the long", _percent(paid), f"{who} on balance, in {len(flows):,} settlements", _tone(paid)),
    ]


def _market_tiles(one: Market, money: str) -> list[Tile]:
    tiles = []
    if np.isfinite(one.funding_8h).any():
        low, high = np.nanmin(one.funding_8h), np.nanmax(one.funding_8h)
        note = f"highest, per 8 h; lowest {_minus(f'{low:.4%}')}"
        tiles.append(Tile("Funding rate", f"{high:.4%}", note))
    if np.isfinite(one.open_interest_value).any():
        fall, at = _flush(one)
        note = f"in 24 h, to {clock.iso(at)}; peak {_big(np.nanmax(one.open_interest_value))} {money}"
        tiles.append(Tile("Open interest fell by", f"{fall:.0%}", note))
    if np.isfinite(one.liq_long).any():
        total = np.nansum(one.liq_long) + np.nansum(one.liq_short)
        note = f"{money}: {_big(np.nansum(one.liq_long))} longs, {_big(np.nansum(one.liq_short))} shorts"
        tiles.append(Tile("Liquidated", _big(total), note))
    return tiles


def _flush(one: Market) -> tuple[float, int]:
    """The largest fall of open interest (in size, not value) from its high of the 24 hours before, and when."""
    size = one.open_interest if np.isfinite(one.open_interest).any() else one.open_interest_value
    known = np.where(np.isfinite(size), size, -np.inf)
    peak = _highest_of_last(known, max(1, clock.DAY // one.interval))
    with np.errstate(invalid="ignore"):
        fall = np.where(np.isfinite(size) & (peak > 0.0), 1.0 - size / peak, 0.0)
    worst = int(np.argmax(fall))
    return float(fall[worst]), int(one.ts[worst]) + one.interval


def _highest_of_last(values: Array, n: int) -> Array:
    """The highest of each value and the n - 1 before it, in blocks of n: running from the left and from the right."""
    blocks = np.full((-(-len(values) // n), n), -np.inf)
    blocks.ravel()[: len(values)] = values
    left = np.maximum.accumulate(blocks, axis=1).ravel()[: len(values)]
    right = np.maximum.accumulate(blocks[:, ::-1], axis=1)[:, ::-1].ravel()[: len(values)]
    reach = np.concatenate([np.full(min(n - 1, len(values)), -np.inf), right[: max(0, len(values) - n + 1)]])
    return np.asarray(np.maximum(left, reach))


def _charts(one: Market, holds: Sequence[Hold], long: Hold, name: str, money: str) -> list[charts.Chart]:
    """What there is data for."""
    price = charts.price(name, one.ts, one.interval, one.close)
    if np.isfinite(one.liq_long).any():
        feed = one.coverage.symbols[0].liquidation_feed
        price = charts.liquidations(price, one.ts, one.interval, one.close, one.liq_long, one.liq_short, feed)
    drawn = [charts.equity(name, holds, money), price]
    if long.settled:
        drawn.append(charts.funding(name, long, money))
    if np.isfinite(one.open_interest_value).any():
        drawn.append(charts.leverage(name, one.ts, one.interval, one.open_interest_value, one.quote_volume))
    return drawn


def _coverage(one: Market) -> list[dict[str, str | float]]:
    rows = []
    for words, name in SHOWN:
        row = one.coverage.of(name)
        rows.append((words, row.present, row.missing))
    rows += [
        ("funding settlements", s.settlements_found, s.settlements_expected - s.settlements_found)
        for s in one.coverage.symbols
    ]
    return [
        {
            "field": words,
            "found": f"{found:,}",
            "missing": f"{missing:,}",
            "share": found / max(1, found + missing),
            "percent": _share(found, missing),
        }
        for words, found, missing in rows
    ]


def _assumptions(hold: Hold, money: str) -> list[str]:
    return [
        f"{hold.convention[0].upper()}{hold.convention[1:]}.",
        f"Entered at the first open, {clock.iso(hold.entry_ts)}, at {hold.entry_price:,.8g}, for "
        f"{hold.capital:,.0f} {money}; the fee of {-hold.fees[-1]:,.2f} {money} is paid once.",
        "The position is marked at the end, not closed.",
        "No spread and no slippage. Gains are not put back into the position: the quantity stays the same.",
        "Funding is paid by the position held into each settlement, at the settlement's own price, or else on the mark "
        "at the open of its bar.",
        "Equity is marked at the mark price of each close. A short that loses its whole wallet stops at zero.",
    ]


# Simulated runs.


def _run_charts(runs: Runs, anchor: str) -> list[charts.Chart]:
    return [charts.runs(anchor, runs, runs[0][1].currency)] if runs else []


def _runs(runs: Runs) -> dict[str, Any]:
    """Measures, trades and liquidations as text, in tables of (heads, rows); the first columns are words."""
    return {
        "verdict": " ".join(_run_sentence(name, result) for name, result in runs),
        "tables": [
            _table("Side by side", ("", *(name for name, _ in runs)), _measures(runs), words=1),
            _table(
                f"Trades, the {ROWS} that moved the account most of each run",
                ("Run", "Opened", "Side", "Ended by", "Hours", "Entry", "Exit", "Profit", "Fees", "Funding"),
                [row for name, result in runs for row in _trades(name, result)],
                words=4,
            ),
            _table(
                f"Liquidations, the {ROWS} that cost most of each run",
                ("Run", "Bar", "Side", "Mark", "Sold or bought at", "Fee", "Lost"),
                [row for name, result in runs for row in _liquidations(name, result)],
                words=3,
            ),
        ],
    }


def _table(title: str, heads: Sequence[str], rows: list[tuple[str, ...]], *, words: int) -> dict[str, Any]:
    return {"title": title, "heads": heads, "rows": rows, "words": words}


def _run_sentence(name: str, result: Result) -> str:
    m = result.measures
    did = "made" if m["total_return"] >= 0.0 else "lost"
    ended = " and was ruined" if result.ruined else ""
    hits, trades = int(m["liquidations"]), int(m["trades"])
    forced = "was never liquidated" if not hits else f"was liquidated {'once' if hits == 1 else f'{hits:,} times'}"
    return f"{name} {did} {abs(m['total_return']):.2%} in {trades:,} trades{ended}, and {forced}."


def _measures(runs: Runs) -> list[tuple[str, ...]]:
    from backtest.metrics import MEASURES
    from backtest.result import as_text

    known = {m.name: m for m in MEASURES}
    return [
        (
            name.replace("_", " ").replace("min margin distance", "nearest to a liquidation"),
            *(_minus(as_text(known[name], result.measures[name])) for _, result in runs),
        )
        for name in RUN_MEASURES
    ]


def _trades(name: str, result: Result) -> list[tuple[str, ...]]:
    frame = result.trades
    net = frame["profit"] - frame["fees"] + frame["funding"] + frame["insurance"]
    most = frame.loc[net.abs().sort_values(ascending=False, kind="stable").index[:ROWS]].sort_index()
    return [
        (
            name,
            clock.iso(trade["ts"].value),
            trade["side"],
            trade["why"].replace("_", " "),
            f"{trade['hours']:,.1f}",
            f"{trade['entry_price']:,.8g}",
            f"{trade['exit_price']:,.8g}",
            *(_minus(f"{x:,.2f}") for x in (trade["profit"], 0.0 - trade["fees"], trade["funding"])),
        )
        for trade in most.to_dict("records")
    ]


def _liquidations(name: str, result: Result) -> list[tuple[str, ...]]:
    most = result.liquidations.nlargest(ROWS, "loss").sort_index()
    return [
        (
            name,
            clock.iso(hit["ts"].value),
            hit["side"],
            *(f"{hit[price]:,.8g}" for price in ("trigger", "price")),
            *(f"{hit[amount]:,.2f}" for amount in ("fee", "loss")),
        )
        for hit in most.to_dict("records")
    ]


# Words and numbers.


def _money_of(symbol: str) -> str:
    """What a unified symbol is quoted in."""
    pair = symbol.split(":", 1)[0]
    return pair.split("/", 1)[1] if "/" in pair else "quote"


def _percent(x: float) -> str:
    return _minus(f"{x:+.2%}")


def _share(found: int, missing: int) -> str:
    """Rounded down: what is not whole never reads 100 %."""
    return f"{found * 10_000 // max(1, found + missing) / 10_000:.2%}"


def _minus(number: str) -> str:
    return number.replace("-", "\u2212")


def _tone(x: float) -> str:
    return "good" if x > 0 else "bad" if x < 0 else ""


def _big(x: float) -> str:
    for size, letter in ((1e9, "B"), (1e6, "M"), (1e3, "k")):
        if abs(x) >= size:
            return f"{x / size:,.2f}{letter}"
    return f"{x:,.0f}"


# What the script needs.


def _script_json(value: Any) -> str:
    """JSON that can stand in a script element: no text in it can end the element."""
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=True)
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


@functools.cache
def _plotly() -> str:
    """plotly.js out of the installed wheel, gzipped, as base64. The wheel's Python side is not loaded."""
    spec = importlib.util.find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise UnwindError("plotly is not installed, and the charts are drawn with it: pip install plotly")
    source = Path(spec.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    return base64.b64encode(gzip.compress(source.read_bytes(), 9, mtime=0)).decode("ascii")
