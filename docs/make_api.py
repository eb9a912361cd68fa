"""Write docs/api/: the API reference, from signatures and docstrings.

    python docs/make_api.py            write the pages that changed
    python docs/make_api.py --check    write nothing; 1 if a page is not what the code says

`PAGES` names the modules that users and extenders import, page by page. Of a module everything public is shown that is
written there, or what is named behind it ("module:name name"), wherever it is written: functions, classes with their
fields, methods and properties. The code is read, not imported, so that no optional library is needed and nothing is
compiled.

`tests/test_docs_api.py` keeps the pages in step and refuses a public name without a docstring.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGES = ("data", "backtest", "strategies")
ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "docs" / "api"
WIDE = 100  # a longer signature has a line for each parameter
ALIGNED = re.compile(r"\S {3,}\S")  # columns: such a paragraph is shown as it is
NUMBERED = re.compile(r"^(\d+\.|[*-]) ")

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass(frozen=True)
class Page:
    """One file of the reference: its name, what it is about, and the modules on it, in order."""

    name: str
    about: str
    modules: tuple[str, ...]  # "module", or "module:name name"

    @property
    def path(self) -> Path:
        return FOLDER / f"{self.name}.md"


PAGES = (
    Page(
        "data",
        "The store, the market, and what brings data in.",
        (
            "data.store",
            "data.market",
            "data.schema",
            "data.errors",
            "data.symbols",
            "data.clock",
            "data.quality",
            "data.checks.base",
            "data.rows",
            "data.sources",
            "data.sources.files",
            "data.sources.venue_facts",
            "data.ingest",
        ),
    ),
    Page(
        "backtest",
        "One simulation: its rules and costs, what it leaves, several strategies together; the formulas.",
        (
            "backtest.engine:simulate measure",
            "backtest.together:together Together Part",
            "backtest.attribution:Attribution",
            "backtest.account",
            "backtest.costs",
            "backtest.venue",
            "backtest.result:Result",
            "backtest.metrics",
            "backtest.records",
            "backtest.hold",
            "backtest.margin",
            "backtest.rules",
            "backtest.verify",
        ),
    ),
    Page(
        "research",
        "Many simulations: sweeps, walk-forward, the register of trials, who does the work.",
        (
            "backtest.sweep:sweep Sweep",
            "backtest.space",
            "backtest.walkforward:walk_forward Plan WalkForward Clause Window FoldFit",
            "backtest.splits",
            "backtest.trials:Register Count register_of",
            "backtest.executor:executor_of width reachable",
            "backtest.explorer.widget",
            "backtest.explorer.live",
            "backtest.explorer.tally",
            "backtest.explorer.sliders",
        ),
    ),
    Page(
        "inference",
        "How much of a result is luck.",
        (
            "backtest.inference",
            "backtest.inference.sharpe:Moments moments sharpe_variance psr critical_sharpe power min_track_record",
            "backtest.inference.deflated",
            "backtest.inference.multiple",
            "backtest.inference.overfitting",
            "backtest.inference.bootstrap",
            "backtest.inference.comparison",
            "backtest.inference.montecarlo",
            "backtest.inference.robust",
            "backtest.inference.summary",
        ),
    ),
    Page(
        "portfolio",
        "A run as a vectorbt portfolio.",
        (
            "backtest.portfolio",
            "backtest.portfolio.making",
            "backtest.portfolio.perp",
            "backtest.portfolio.columns",
            "backtest.portfolio.ratios",
            "backtest.portfolio.trades",
        ),
    ),
    Page(
        "report",
        "The page of a run, and of several side by side: what it is made of, and what it rests on.",
        (
            "backtest.report.report:Report",
            "backtest.report.compare:compare Comparing",
            "backtest.report.evidence:Evidence gather gather_forward",
            "backtest.report.subject",
            "backtest.report.parts:Page Chart Table Explorer Calendar Answer Key Switch",
        ),
    ),
    Page(
        "strategies",
        "How an idea is written down, checked and found; and the ideas that come with Unwind.",
        (
            "backtest.strategy",
            "backtest.strategy_lookup",
            "backtest.features",
            "backtest.settled",
            "backtest.needs",
            "strategies.building",
            "strategies.buy_and_hold",
            "strategies.carry",
            "strategies.cascade_fade",
            "strategies.crowding_portfolio",
            "strategies.de_risk",
            "strategies.funding_squeeze",
            "strategies.ladder_fade",
            "strategies.managed_trend",
            "strategies.random_entry",
            "strategies.unwind_momentum",
        ),
    ),
    Page(
        "signals",
        "Signals of leverage, events, regimes, and detectors scored against the truth.",
        (
            "strategies.signals",
            "strategies.signals.registry",
            "strategies.signals.edge",
            "strategies.signals.rolling",
            "strategies.signals.buildup",
            "strategies.signals.unexpected",
            "strategies.signals.phase",
            "strategies.signals.funding",
            "strategies.signals.skew",
            "strategies.signals.venues",
            "strategies.signals.flow",
            "strategies.signals.fragility",
            "strategies.signals.volatility",
            "strategies.signals.breakers",
            "strategies.signals.hawkes",
            "strategies.signals.hazard",
            "strategies.signals.garch",
            "strategies.events",
            "strategies.regimes",
            "strategies.detectors",
        ),
    ),
    Page(
        "crowd",
        "The simulated market and its stress tests.",
        (
            "backtest.crowd.world",
            "backtest.crowd.machine",
            "backtest.crowd.shock",
            "backtest.crowd.stress",
            "backtest.crowd.montecarlo:futures Futures Odds wilson sensitivity",
            "backtest.crowd.estimate",
            "backtest.crowd.ladder:observed Observed observed_of Mixture Levels "
            "liquidation_map LiquidationMap liquidation_maps liquidation_path LiquidationPath",
            "backtest.crowd.funds",
        ),
    ),
)


# ---- what a module holds -----------------------------------------------------------------------------


def source_of(module: str) -> Path:
    """The file of a module, found by its name."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def public(body: list[ast.stmt]) -> Iterator[Function | ast.ClassDef]:
    """Functions and classes whose names have no underscore before them; each name once."""
    seen: set[str] = set()
    for node in body:
        if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_") and node.name not in seen:
            if "overload" in {ast.unparse(d) for d in node.decorator_list}:
                continue
            seen.add(node.name)
            yield node


@cache
def parsed(module: str) -> tuple[str, ast.Module]:
    """Text and tree of a module."""
    text = source_of(module).read_text(encoding="utf-8")
    return text, ast.parse(text)


def shown(entry: str) -> Iterator[tuple[Function | ast.ClassDef, str]]:
    """What an entry of a page shows: each definition, and the text of the file that it stands in."""
    module, _, names = entry.partition(":")
    if not names:
        text, tree = parsed(module)
        yield from ((node, text) for node in public(tree.body))
    for name in names.split():
        yield found(module, name)


def found(module: str, name: str) -> tuple[Function | ast.ClassDef, str]:
    """The definition of a name, followed through imports."""
    text, tree = parsed(module)
    for node in ast.walk(tree):
        if isinstance(node, Function | ast.ClassDef) and node.name == name and node in tree.body:
            return node, text
        if isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                if (alias.asname or alias.name) == name and node.module.split(".")[0] in PACKAGES:
                    return found(node.module, alias.name)
    raise SystemExit(f"{module} has no {name}: mend PAGES in docs/make_api.py")


def undocumented() -> list[str]:
    """Modules, functions and classes on the pages that have no docstring."""
    missing = []
    for page in PAGES:
        for entry in page.modules:
            module = entry.partition(":")[0]
            if not ast.get_docstring(parsed(module)[1]):
                missing.append(module)
            missing += [f"{module}.{node.name}" for node, _ in shown(entry) if not ast.get_docstring(node)]
    return missing


# ---- as Markdown -------------------------------------------------------------------------------------


def page_text(page: Page) -> str:
    """The whole page."""
    parts = [f"# {page.name.capitalize()}", page.about, "Made by `docs/make_api.py` from the code: edit it there."]
    names = [entry.partition(":")[0] for entry in page.modules]
    parts.append("\n".join(f"* [`{name}`](#{name.replace('.', '')})" for name in names))
    for entry in page.modules:
        parts += _module(entry)
    return "\n\n".join(parts) + "\n"


def index_text() -> str:
    """The list of pages."""
    lines = ["# API reference", "", "By area. Each page has signatures and docstrings, taken from the code by"]
    lines += ["`docs/make_api.py`. In Python, `help(name)` says the same.", ""]
    lines += [f"* [{page.name.capitalize()}]({page.name}.md): {page.about}" for page in PAGES]
    return "\n".join(lines) + "\n"


def _module(entry: str) -> list[str]:
    module = entry.partition(":")[0]
    parts = [f"## `{module}`", *_prose(ast.get_docstring(parsed(module)[1]) or "")]
    for node, text in shown(entry):
        parts += _class(node, text) if isinstance(node, ast.ClassDef) else _function(node, "###")
    return parts


def _function(node: Function, level: str, of: str = "") -> list[str]:
    called = _fence(signature(node, method=bool(of)))
    return [f"{level} {of}{node.name}", called, *_prose(ast.get_docstring(node) or "")]


def _class(node: ast.ClassDef, text: str) -> list[str]:
    parts = [f"### {node.name}"]
    bases = [ast.unparse(base) for base in node.bases]
    parts.append(_fence("class " + node.name + (f"({', '.join(bases)})" if bases else "")))
    parts += _prose(ast.get_docstring(node) or "")
    if fields := _fields(node, text):
        parts.append(_fence("\n".join(fields)))
    for method in public(node.body):
        if isinstance(method, ast.ClassDef):
            continue
        parts += _method(method, node.name)
    return parts


def _method(node: Function, of: str) -> list[str]:
    names = {ast.unparse(d).rpartition(".")[2] for d in node.decorator_list}
    if "setter" in names:
        return []
    said = _prose(ast.get_docstring(node) or "")
    if names & {"property", "cached_property"}:
        kind = f": `{ast.unparse(node.returns)}`" if node.returns else ""
        return [f"#### {of}.{node.name}{kind}", *said]
    return [f"#### {of}.{node.name}", _fence(signature(node, method="staticmethod" not in names)), *said]


def _fields(node: ast.ClassDef, text: str) -> list[str]:
    """Lines of the fields as they are written, with the words behind them."""
    lines, found = text.splitlines(), []
    for item in node.body:
        name: ast.expr | None = None
        if isinstance(item, ast.AnnAssign):
            name = item.target
        elif isinstance(item, ast.Assign) and len(item.targets) == 1:
            name = item.targets[0]
        if isinstance(name, ast.Name) and not name.id.startswith("_"):
            found += [line[4:].rstrip() for line in lines[item.lineno - 1 : item.end_lineno]]
    return found


def signature(node: Function, *, method: bool = False) -> str:
    """The call, on one line where it fits, else a line for each parameter. self and cls are left out."""
    parameters = list(_parameters(node.args))
    if method and parameters and parameters[0] in ("self", "cls"):
        parameters = parameters[1:]
    gives = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    line = f"{node.name}({', '.join(parameters)}){gives}"
    if len(line) <= WIDE or not parameters:
        return line
    return f"{node.name}(\n" + "".join(f"    {one},\n" for one in parameters) + f"){gives}"


def _parameters(args: ast.arguments) -> Iterator[str]:
    positional = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(positional) - len(args.defaults)) + list(args.defaults)
    for number, (arg, default) in enumerate(zip(positional, defaults, strict=True)):
        yield _parameter(arg, default)
        if args.posonlyargs and number == len(args.posonlyargs) - 1:
            yield "/"
    if args.vararg:
        yield "*" + _parameter(args.vararg, None)
    elif args.kwonlyargs:
        yield "*"
    for arg, default in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        yield _parameter(arg, default)
    if args.kwarg:
        yield "**" + _parameter(args.kwarg, None)


def _parameter(arg: ast.arg, default: ast.expr | None) -> str:
    kind = f": {ast.unparse(arg.annotation)}" if arg.annotation else ""
    value = "" if default is None else f" = {ast.unparse(default)}" if kind else f"={ast.unparse(default)}"
    return f"{arg.arg}{kind}{value}"


def _prose(text: str) -> list[str]:
    """A docstring as paragraphs; those with columns and those that are indented are shown as they are."""
    return [_paragraph(part) for part in re.split(r"\n\s*\n", text.strip("\n")) if part.strip()]


def _paragraph(part: str) -> str:
    lines = part.splitlines()
    if all(line.startswith("    ") for line in lines):
        return part.rstrip()
    if any(ALIGNED.search(line) for line in lines) or ">>>" in part:
        return "\n".join(f"    {line}".rstrip() for line in lines)
    if any(line.startswith("    ") for line in lines) and not any(NUMBERED.match(line) for line in lines):
        return "\n".join(f"    {line}".rstrip() for line in lines)
    return re.sub(r"`[^`]*`|<", lambda m: "&lt;" if m[0] == "<" else m[0], part)


def _fence(text: str) -> str:
    return f"```text\n{text}\n```"


# ---- files -------------------------------------------------------------------------------------------


def wanted() -> dict[Path, str]:
    """Every file of the reference and its text."""
    return {FOLDER / "README.md": index_text()} | {page.path: page_text(page) for page in PAGES}


def stale() -> list[Path]:
    """Files that are not what the code says, and files that should not be there."""
    made = wanted()
    other = [path for path, text in made.items() if not path.is_file() or path.read_text(encoding="utf-8") != text]
    return other + [path for path in FOLDER.glob("*.md") if path not in made]


def main(arguments: list[str] | None = None) -> int:
    """Write, or look."""
    parser = argparse.ArgumentParser(description="Write docs/api from docstrings.")
    parser.add_argument("--check", action="store_true", help="write nothing; 1 if a page is stale")
    check = parser.parse_args(arguments).check
    made = wanted()
    for path in stale():
        sys.stdout.write(f"{'stale' if check else 'written'}: {path.relative_to(ROOT)}\n")
        if check:
            continue
        path.parent.mkdir(exist_ok=True)
        if path in made:
            path.write_text(made[path], encoding="utf-8")
        else:
            path.unlink()
    return int(check and bool(stale()))


if __name__ == "__main__":
    sys.exit(main())
