"""`unwind report`: a page of what was kept."""

from __future__ import annotations

import time
import webbrowser
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backtest.cli.options import Json, print_json
from data.errors import BadInput


def report(
    folder: Annotated[Path, Parameter(help="What `unwind run` or `unwind walkforward` kept.")],
    *,
    out: Annotated[Path | None, Parameter(help="The page; without it report.html in that folder.")] = None,
    quick: Annotated[
        bool, Parameter(negative="", help="Simulate nothing again: only what is known already is said.")
    ] = False,
    fresh: Annotated[bool, Parameter(negative="", help="Gather the evidence again, though it was kept.")] = False,
    draws: Annotated[int, Parameter(help="Random entries to compare with.")] = 200,
    seed: Annotated[int, Parameter(help="Of all that is drawn.")] = 0,
    open_page: Annotated[bool, Parameter(name="--open", negative="", help="Open the page in a browser.")] = False,
    as_json: Json = False,
) -> None:
    """Make one HTML file of a result: numbers, costs, margin, trades, and how far to believe it.

    The file holds everything it shows and asks no network for anything. The
    first time the run is simulated again under worse terms and its days are
    redrawn, which takes some seconds; that is kept beside the result.
    """
    from backtest.cli import pages
    from backtest.report.sections.verdicts import answers_of

    began = time.perf_counter()
    if draws < 1:
        raise BadInput(f"--draws {draws}: write 1 or more")
    place = pages.folder_of(folder)
    made = pages.of_folder(place, fresh=fresh, quick=quick, draws=draws, seed=seed)
    path = made.write(out or place / pages.PAGE)
    if as_json:
        answers = [vars(answer) for answer in answers_of(made.subject)]
        facts = {"page": str(path.resolve()), "title": made.title, "verdict": made.verdict, "answers": answers,
                 "bytes": path.stat().st_size, "seconds": round(time.perf_counter() - began, 2)}  # fmt: skip
        print_json(facts)
    else:
        for notice in made.subject.notices:
            print(f"note: {notice}")
        print(made.title)
        print(made.page.lead)
        print(made.verdict)
        print(f"Page   {path}")
    if open_page:
        webbrowser.open(path.resolve().as_uri())
