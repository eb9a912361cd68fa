"""`unwind compare`: several kept results on one page."""

from __future__ import annotations

import webbrowser
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backtest.cli.options import Json, print_json, print_table
from data.errors import BadInput

SHOWN = ("total_return", "sharpe", "max_drawdown", "trades", "funding", "fees", "liquidations")


def compare(
    folders: Annotated[list[Path], Parameter(help="Two or more of what `unwind run` or `unwind walkforward` kept.")],
    /,
    *,
    out: Annotated[Path, Parameter(help="The page.")] = Path("compare.html"),
    open_page: Annotated[bool, Parameter(name="--open", negative="", help="Open the page in a browser.")] = False,
    as_json: Json = False,
) -> None:
    """Put results side by side: numbers, ranges, equity, costs, months, and how alike they are.

    Ranges are shown of those for which `unwind report` has gathered evidence.
    """
    from backtest.cli import pages
    from backtest.report.compare import compare as side_by_side
    from backtest.report.evidence import Evidence
    from backtest.report.sections.headline import said
    from backtest.result import Result

    runs, known = {}, {}
    for text in folders:
        folder = pages.folder_of(text)
        name = folder.name
        place = folder / "result" if (folder / "walkforward.json").is_file() else folder
        if name in runs:
            raise BadInput(f"{folder}: a folder of that name is there already: results are named by their folders")
        runs[name] = Result.load(place)
        evidence = Evidence.load(folder)
        if evidence is not None and evidence.of == runs[name].fingerprint_id:
            known[name] = evidence
    made = side_by_side(runs, evidence=known)
    path = made.write(out)
    rows = [{"run": name, **{m: said(m, one.measures[m]) for m in SHOWN}} for name, one in runs.items()]
    if as_json:
        facts = {
            "page": str(path.resolve()),
            "verdict": made.verdict,
            "notices": list(made.page.notices),
            "runs": {name: dict(one.measures) for name, one in runs.items()},
        }
        print_json(facts)
    else:
        print_table(rows)
        for notice in made.page.notices:
            print(f"note: {notice}")
        print(made.verdict)
        print(f"Page   {path}")
    if open_page:
        webbrowser.open(path.resolve().as_uri())
