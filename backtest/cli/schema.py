"""`unwind schema`: the contract, as text, JSON or Markdown; and the page of the docs that holds it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backtest.cli.options import Json, print_json, print_table
from data import schema as contract
from data.errors import BadInput


def schema(
    table: Annotated[str | None, Parameter(help="This table alone.")] = None,
    *,
    markdown: Annotated[bool, Parameter(negative="", help="Print Markdown, for a page.")] = False,
    into: Annotated[
        Path | None, Parameter(help="With --markdown: rewrite the generated parts of this page, as of docs/data.md.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Every table and column that is stored: type, unit, meaning, and when a row was known.

    The natural key of a table is marked: writing a row whose key is stored replaces it.
    """
    chosen = [contract.table(table)] if table else list(contract.TABLES.values())
    names = {t.name for t in chosen}
    if into is not None:
        if not markdown or table:
            raise BadInput("--into rewrites a page: write `unwind schema --markdown --into docs/data.md`")
        rewrite(into)
    elif as_json:
        print_json([row for row in contract.rows() if row["table"] in names])
    elif markdown:
        print("".join(section(t.name) for t in chosen).rstrip())
    else:
        for t in chosen:
            _tell(t)


def _tell(t: contract.Table) -> None:
    rows = [row for row in contract.rows() if row["table"] == t.name]
    print_table(
        [
            {
                "column": row["column"],
                "key": "key" if row["key"] else "",
                "type": row["type"],
                "unit": row["unit"],
                "meaning": row["meaning"],
            }
            for row in rows
        ],
        title=f"{t.name}: {t.meaning}. Known: {t.known}.",
    )


def section(name: str) -> str:
    """One table's part of the reference."""
    parts = re.split(r"^(?=### )", contract.markdown(), flags=re.MULTILINE)
    return next(part for part in parts if part.startswith(f"### {name}\n"))


def generated() -> dict[str, str]:
    """The parts of docs/data.md that are written by this command, by the name in their markers."""
    from data import quality

    return {"tables": contract.markdown(), "checks": quality.markdown()}


def in_step(page: str) -> str:
    """The page with its generated parts as they should be."""
    for name, text in generated().items():
        begin, end = f"<!-- {name}: generated -->", f"<!-- {name}: end -->"
        head, found_begin, rest = page.partition(begin)
        _, found_end, tail = rest.partition(end)
        if not (found_begin and found_end):
            raise BadInput(f"the page has no {begin} ... {end}: put both lines where the {name} belong")
        page = f"{head}{begin}\n\n{text.strip()}\n\n{end}{tail}"
    return page


def rewrite(path: Path) -> None:
    before = path.read_text(encoding="utf-8")
    after = in_step(before)
    if after != before:
        path.write_text(after, encoding="utf-8")
    print(f"{path} {'rewritten' if after != before else 'was in step'}")
