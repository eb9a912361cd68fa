"""One fetch from its plan to its report.

    job = plan(store, wish, clients)     what is missing, as pages; nothing of history is asked for yet
    print(job.table())                   --dry-run stops here
    report = run(store, job)             fetch, store, note what the venue does not have

Planning asks each interface for its clock and its list of contracts, and the store for what it has. Running hands the
pages to `data.ingest`, which packs whole pages into transactions while the next ones are on their way. A process that
is killed loses what was not stored yet; the next plan asks for just that.

Holes that are confirmed, inside what is stored of a series, become rows of `gaps`. Days at either end of it for which
the venue gave nothing, although the contract was listed, are said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from data import clock
from data.errors import BadInput, NotFound
from data.fetching import snapshots
from data.fetching.asked import Exact, Market, Series, Wish, exact, find
from data.fetching.missing import SOURCE, Span, empty_spans, merged, missing, stored_spans, without
from data.fetching.pages import Counts, Notes, Page, Pages, cut
from data.ingest import TRANSACTION_ROWS, Report, ingest
from data.rows import Batch, Origin, Rows
from data.sources.ccxt_rest import VenueClient
from data.sources.venue_facts import VenueFacts, What

if TYPE_CHECKING:
    from data.store import Store

_WORTH_SAYING = 2 * clock.DAY


@dataclass(frozen=True)
class Job:
    """What will be asked for."""

    wish: Wish
    exact: Exact
    pages: tuple[Page, ...]
    found: Mapping[str, tuple[VenueFacts, Market]]
    clients: Mapping[str, VenueClient]
    now: Mapping[str, int]

    @property
    def requests(self) -> int:
        return len(self.pages)

    @property
    def now_requests(self) -> int:
        """Requests for what holds now; the terms of contracts came with their list."""
        if What.TIERS not in self.wish.things:
            return 0
        alone = [snapshots.requests_for(f, m) for f, m in self.found.values() if not _for_all(f)]
        return sum(alone) + sum(_for_all(f) for f in self.interfaces())

    @property
    def notes(self) -> tuple[str, ...]:
        remarks = [f.tiers.remark for f in self.interfaces() if f.tiers and What.TIERS in self.wish.things]
        return (*self.exact.notes, *(r for r in remarks if r))

    def interfaces(self) -> tuple[VenueFacts, ...]:
        return tuple(dict.fromkeys(f for f, _ in self.found.values()))

    def table(self) -> list[dict[str, Any]]:
        """A line for each series: what will be asked for."""
        lines = []
        by_series: dict[Series, list[Page]] = {}
        for page in self.pages:
            by_series.setdefault(page.series, []).append(page)
        for s in self.exact.series:
            pages = by_series.get(s, [])
            lines.append(
                {
                    "what": s.feed.key,
                    "symbol": s.symbol,
                    "interval": clock.label(s.interval) if s.interval else "",
                    "from": clock.iso(pages[0].start) if pages else "",
                    "to": clock.iso(pages[-1].stop) if pages else "",
                    "rows": sum(p.rows for p in pages),
                    "requests": len(pages),
                }
            )
        if self.now_requests:
            now = {"what": What.TIERS, "symbol": ",".join(self.found), "interval": "", "from": "now", "to": "now"}
            lines.append({**now, "rows": 0, "requests": self.now_requests})
        return lines


def _for_all(facts: VenueFacts) -> bool:
    return facts.tiers is not None and facts.tiers.for_all


def plan(store: Store, wish: Wish, clients: Sequence[VenueClient], again: bool = False) -> Job:
    """What is missing of what is wished for."""
    parts: list[tuple[VenueFacts, Mapping[str, Market]]] = []
    for client in clients:
        parts.append((client.facts, client.markets()))
        try:
            found = find(wish.symbols, parts)
            break
        except NotFound:
            if client is clients[-1]:
                raise
    by_name = {c.facts.name: c for c in clients}
    used = {f.name: by_name[f.name] for f, _ in found.values()}
    now = {name: client.now() for name, client in used.items()}
    if wish.since >= max(now.values()):
        raise BadInput(f"--since {clock.iso(wish.since)} lies ahead of the venue's clock")
    if What.TIERS in wish.things:
        for client in used.values():
            if client.facts.tiers is not None and client.facts.tiers.needs_key and client.keys is None:
                raise BadInput(snapshots.needs_key(client.facts))
    made = exact(wish, found, now)
    lacking = missing(store, made.series, again)
    fading_first = sorted(lacking, key=lambda s: s.feed.reach_s is None and s.feed.reach_rows is None)
    pages = tuple(page for s in fading_first for page in cut(s, lacking[s]))
    return Job(wish, made, pages, found, used, now)


@dataclass
class Done:
    """What a fetch did."""

    report: Report
    remarks: list[str] = field(default_factory=list)


def run(
    store: Store,
    job: Job,
    counts: Counts | None = None,
    workers: int = 4,
    transaction_rows: int = TRANSACTION_ROWS,
) -> Done:
    """Fetch what the job plans."""
    done = Done(Report())
    for batch in _snapshots(store, job):
        done.report.written += store.write(batch)
        done.report.files += 1
    if job.pages:
        notes = Notes()
        pages = Pages(job.pages, dict(job.clients), dict(job.now), workers, counts, notes)
        report = ingest(pages, store, on_bad="list", workers=workers, transaction_rows=transaction_rows)
        report.written += done.report.written
        report.files = notes.pages + done.report.files
        done = Done(report)
        if notes.cut_short:
            done.remarks.append(
                f"{notes.cut_short:,} answers held back rows that the venue has; they were asked for again and came"
            )
    series = list(dict.fromkeys(p.series for p in job.pages))
    empty = empty_spans(store, series) if series else {}
    stored = stored_spans(store, list(empty))
    for batch, remark in _holes(empty, stored):
        done.report.written += store.write(batch)
        done.remarks.append(remark)
    done.remarks += _silences(empty, stored)
    return done


def _snapshots(store: Store, job: Job) -> list[Batch]:
    out: list[Batch] = []
    for facts in job.interfaces():
        markets = {s: m for s, (f, m) in job.found.items() if f is facts}
        now = job.now[facts.name]
        if What.INSTRUMENTS in job.wish.things and (batch := snapshots.instruments(store, facts, markets, now)):
            out.append(batch)
        if What.TIERS in job.wish.things:
            out += snapshots.tiers(store, facts, job.clients[facts.name], markets, now)
    return out


_Spans = Mapping[Series, Sequence[Span]]


def _holes(empty: _Spans, stored: _Spans) -> list[tuple[Batch, str]]:
    """Confirmed holes between what is stored, as rows of `gaps` that are not there yet."""
    out = []
    for s, spans in empty.items():
        there = merged(stored[s])
        if not there or not s.feed.is_grid:
            continue
        inside = without(merged(spans), [*there, (0, there[0][0]), (there[-1][1], 1 << 62)])
        if inside:
            out.append((_gaps(s, inside), _said(s, inside)))
    return out


def _silences(empty: _Spans, stored: _Spans) -> list[str]:
    """Days at the ends of a series for which the venue gave nothing, although it names an earlier listing day."""
    out = []
    for s, spans in empty.items():
        there = merged(stored[s])
        hull = [(there[0][0], there[-1][1])] if there else []
        listed = int(s.market.get("created") or 0) * clock.MS or s.stop
        for a, z in without(merged(spans), [*hull, (0, listed)]):
            if z - a >= _WORTH_SAYING:
                out.append(f"{s.facts.name} gave no {s.label} from {clock.iso(a)} to {clock.iso(z)}")
    return out


def _gaps(s: Series, spans: Sequence[Span]) -> Batch:
    import polars as pl

    first, stop = ([clock.naive(t) for t in times] for times in zip(*spans, strict=True))
    times = {n: pl.Series(v, dtype=pl.Datetime("us")) for n, v in (("ts", first), ("until", stop), ("known_at", stop))}
    reason = f"{s.facts.name} has no {s.feed.key} of {clock.label(s.interval)} here"
    constants = {"venue": s.facts.stored_as, "symbol": s.symbol, "feed_table": s.feed.table, "reason": reason}
    origin = Origin(SOURCE, f"{s.label}: holes", symbols=(s.symbol,), tables=("gaps",), venue=s.facts.stored_as)
    return Batch((Rows("gaps", pl.DataFrame(times), constants),), (origin,))


def _said(s: Series, spans: Sequence[Span]) -> str:
    rows = sum((z - a) // s.interval for a, z in spans)
    return (
        f"{s.facts.name} lacks {rows:,} rows of {s.label} in {len(spans):,} holes, the first at "
        f"{clock.iso(spans[0][0])}; noted in gaps"
    )
