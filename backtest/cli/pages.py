"""How the verbs make pages: `--report` of a run or a walk-forward, and `unwind report` of what was kept.

1. What was asked is kept beside the result (`command.json`), so that the market can be found again.
2. Evidence is gathered once and kept there too (`evidence.json`); a page made again takes it from there.
3. A store or a strategy that has changed since is not passed off as the one that was simulated: what rests on it is
   left out, and the page says so.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.cli import talk
from data.errors import BadInput, NotFound, NotThisFormat, UnwindError

if TYPE_CHECKING:
    import pandas as pd

    from backtest.cli.research import Asked, Rules
    from backtest.report.evidence import Evidence
    from backtest.report.report import Report
    from backtest.result import Result
    from backtest.strategy import Strategy
    from backtest.walkforward import WalkForward
    from data.market import Market

COMMAND = "command.json"
PAGE = "report.html"
MADE_UP = ("made-up", "sim")  # venues whose markets nobody traded
DRAWS = 200
LONG = 100_000  # bars from which on gathering takes long enough to be said


def note_command(
    folder: Path, strategy: str, changes: Sequence[str], asked: Asked, rules: Rules, detail: str, db: Path
) -> None:
    from backtest.cli import results

    said = {
        "verb": "run", "strategy": strategy, "set": list(changes), "asked": asdict(asked), "rules": asdict(rules),
        "detail": detail, "db": str(db.resolve()),
    }  # fmt: skip
    results.write_json(folder / COMMAND, said)


def of_run(
    result: Result,
    market: Market,
    strategy: Strategy,
    *,
    folder: Path | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    name: str = "",
    **terms: Any,
) -> Report:
    """The report of a run that has just been simulated, or is known to be of this market and strategy."""
    from backtest.report.evidence import gather
    from backtest.report.report import Report

    kept = _kept(folder, result)
    if kept is None and len(market) > LONG:
        talk.note(f"simulating again under worse terms, and {draws} random entries: some seconds")
    known = kept or gather(result, market, strategy, draws=draws, seed=seed, **terms)
    if folder is not None and kept is None:
        known.save(folder)
    return Report(
        result, name=name or type(strategy).__name__, market=market, evidence=known, events=events_of(market, result),
        made_up=market.venue in MADE_UP,
    )  # fmt: skip


def of_forward(forward: WalkForward, *, folder: Path | None = None, draws: int = DRAWS, seed: int = 0) -> Report:
    from backtest.report.evidence import gather_forward
    from backtest.report.report import Report

    kept = _kept(folder, forward.result)
    known = kept or gather_forward(forward, draws=draws, seed=seed)
    if folder is not None and kept is None:
        known.save(folder)
    return Report(
        forward.result, name=f"{type(forward.spec.base).__name__}, walked forward", market=forward.out_of_sample,
        evidence=known, forward=forward, events=events_of(forward.out_of_sample, forward.result),
        made_up=forward.market.venue in MADE_UP,
    )  # fmt: skip


def _kept(folder: Path | None, result: Result) -> Evidence | None:
    """What was gathered before, of this very run; trials are counted anew."""
    from backtest.report.evidence import Evidence

    found = Evidence.load(folder) if folder is not None else None
    return found if found is not None and found.of == result.fingerprint_id else None


def events_of(market: Market, result: Result) -> pd.DataFrame | None:
    """Build-ups and unwinds of the symbol that most was traded of; None where the data does not tell."""
    import numpy as np

    from strategies import events

    fills = result.run.fills
    place = 0
    if len(fills):
        place = int(np.argmax(np.bincount(fills["symbol"], weights=np.abs(fills["quantity"] * fills["price"]))))
    one = market.select([market.symbols[place]])
    found = []
    for rule in (events.BuildUp(), events.Unwind()):
        try:
            found.append(events.find(one, rule))
        except UnwindError:
            continue
    frames = [frame for frame in found if len(frame)]
    if not found:
        return None
    if not frames:
        return found[0]
    import pandas as pd

    return pd.concat(frames, ignore_index=True).sort_values("start", ignore_index=True)


# ---- what was kept ---------------------------------------------------------------------------------


def of_folder(folder: Path, *, fresh: bool = False, quick: bool = False, draws: int = DRAWS, seed: int = 0) -> Report:
    """The report of a folder that `unwind run` or `unwind walkforward` wrote, or `Result.save`."""
    if (folder / "walkforward.json").is_file():
        return _of_walk_forward_folder(folder, fresh=fresh, quick=quick, draws=draws, seed=seed)
    return _of_result_folder(folder, fresh=fresh, quick=quick, draws=draws, seed=seed)


def _of_result_folder(folder: Path, *, fresh: bool, quick: bool, draws: int, seed: int) -> Report:
    from backtest.report.evidence import FILE, gather
    from backtest.report.report import Report
    from backtest.result import Result

    result = Result.load(folder)
    if fresh:
        (folder / FILE).unlink(missing_ok=True)
    again, notices = _stood(folder, result)
    if again is None:
        known = _kept(folder, result) or (None if quick else gather(result, seed=seed))
        return Report(result, name=_name(folder), evidence=known, notices=notices)
    market, strategy, terms = again
    if quick:
        return Report(
            result, name=type(strategy).__name__, market=market, evidence=_kept(folder, result),
            events=events_of(market, result), made_up=market.venue in MADE_UP, notices=notices,
        )  # fmt: skip
    made = of_run(result, market, strategy, folder=folder, draws=draws, seed=seed, **terms)
    return _checked(made, folder, draws, terms)


def _checked(made: Report, folder: Path, draws: int, terms: Mapping[str, Any]) -> Report:
    """The run again must be the run: else the strategy has changed, and what was gathered is of another one."""
    from backtest.report.evidence import FILE, KEPT, gather
    from backtest.report.report import Report

    known, measures = made.subject.evidence, made.subject.result.measures
    first = known.reruns[0].measures if known and known.reruns else None
    if first is None or known is None or all(_same(first[name], measures[name]) for name in KEPT):
        return made
    (folder / FILE).unlink(missing_ok=True)
    s = made.subject
    bare = gather(s.result, s.market, draws=draws, seed=known.seed, **terms)
    notice = "The strategy has changed since this run, and does something else now: what rests on it is left out."
    return Report(
        s.result, name=s.name, market=s.market, evidence=bare, events=s.events, made_up=s.made_up, notices=(notice,)
    )


def _same(a: float, b: float) -> bool:
    return a == b or (a != a and b != b)


Again = tuple["Market", "Strategy", dict[str, Any]]


def _stood(folder: Path, result: Result) -> tuple[Again | None, tuple[str, ...]]:
    """Market, strategy and terms as they were asked for, if all are still there; else why not."""
    from backtest.cli import settings
    from backtest.cli.research import Asked, Rules, finer, stand, terms_of

    path = folder / COMMAND
    if not path.is_file():
        return None, ("Only the run itself was kept: what needs its market or its strategy is left out.",)
    try:
        said: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        asked, rules, db = Asked(**said["asked"]), Rules(**said["rules"]), Path(said["db"])
        name, changes, detail = str(said["strategy"]), list(said["set"]), str(said["detail"])
    except (ValueError, KeyError, TypeError) as error:
        raise NotThisFormat(f"{path} cannot be read ({error}): run it again") from None
    try:
        cls = settings.strategy_class(name)
        one = settings.strategy_of(cls, settings.assigned(changes, "--set", "leverage=3"))
        ground = stand(cls, [one], asked, db)
    except UnwindError as error:
        return None, (f"What needs the market or the strategy is left out: {error}",)
    if ground.market.hash != result.fingerprint.get("data"):
        return None, (f"{db.name} has changed since this run: what needs the market is left out. Run it again.",)
    inside = finer(asked, ground.market, cls, detail, db) if detail else None
    return (
        ground.market,
        one,
        {**terms_of(rules, ground.market, cls), "history": ground.history, "detail": inside},
    ), ()


def _of_walk_forward_folder(folder: Path, *, fresh: bool, quick: bool, draws: int, seed: int) -> Report:
    from backtest.cli import config
    from backtest.cli.sweep import Working
    from backtest.cli.walkforward import walked
    from backtest.report.evidence import FILE

    summary = folder / "summary.json"
    if not summary.is_file():
        raise NotFound(f"{folder}: this walk-forward was not finished: run it again, finished folds are kept")
    path = Path(json.loads(summary.read_text(encoding="utf-8"))["config"])
    if not path.is_file():
        path = folder / "config.toml"
    read = config.read(path)
    from backtest.cli.options import default_db

    found, place = walked(read, Working(), None, read.db or default_db())
    if place.resolve() != folder.resolve() and found.resumed == 0:
        talk.note(f"{path} or the data has changed since: this is another walk-forward, in {place}")
    if fresh:
        (folder / FILE).unlink(missing_ok=True)
    if quick:
        from backtest.report.report import Report

        return Report(
            found.result, name=f"{type(found.spec.base).__name__}, walked forward", market=found.out_of_sample,
            forward=found, evidence=_kept(folder, found.result), made_up=found.market.venue in MADE_UP,
        )  # fmt: skip
    return of_forward(found, folder=folder, draws=draws, seed=seed)


def _name(folder: Path) -> str:
    """Fade-1c9a6e0f2b77 was called Fade."""
    return folder.name.rsplit("-", 1)[0]


def folder_of(text: Path) -> Path:
    """A result's folder, or the one in a walk-forward's."""
    folder = text.expanduser()
    if not folder.exists():
        raise NotFound(f"no folder {folder}: `unwind run` says where it keeps its result")
    if not folder.is_dir():
        raise BadInput(f"{folder} is a file: name the folder of a result")
    return folder
