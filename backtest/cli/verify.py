"""`unwind verify`: worked cases of real venues and of statistics, run through the program's own functions."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backtest.cli.options import Json, print_json, print_table


def verify(
    *,
    cases: Annotated[Path | None, Parameter(help="A JSON file of cases. Without it: those of this program.")] = None,
    as_json: Json = False,
) -> int:
    """Check liquidation prices, margins, funding and statistics against examples that venues and papers published.

    Every case is computed by the functions that a backtest and its report use, and compared with what its source
    says. Exits with 1 if one does not agree. A case that asks for a rule which is not here is listed as unsupported,
    with the reason.
    """
    from backtest import verify as engine
    from backtest.cli.worked_signals import KINDS

    listed = [*engine.load(), *engine.load_statistics()] if cases is None else engine.load(cases)
    outcomes = engine.run(listed, KINDS)
    if as_json:
        print_json(engine.as_json(outcomes))
    else:
        print_table(engine.table(outcomes))
    print(engine.summary(outcomes), file=sys.stderr if as_json else sys.stdout)
    return 1 if any(o.status == "fail" for o in outcomes) else 0
