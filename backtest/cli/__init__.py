"""The `unwind` command.

One file a verb. A verb's module is imported only when the verb runs (or when an unknown verb is
looked up among them), and a verb imports what is heavy inside its function: `unwind --help` answers
at once.

To add a verb: write `backtest/cli/<verb>.py` with one function (its docstring is the help), then
add a line to `VERBS` here. A verb returns nothing, or its exit code.

Exit codes: 0 done, 1 done and something was found (a check), 2 a mistake the user can mend, 3 a
requirement is not met (walkforward), 130 interrupted. `UNWIND_DEBUG=1` shows tracebacks.

`--quiet` and `--verbose` go with every verb: `Talk` takes them out of the words before a verb sees them.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Sequence

from cyclopts import App, CycloptsError

from backtest.cli.talk import talk_of
from data.errors import UnwindError

Verb = tuple[str, str, str]  # name, "module:function", the line in the list of verbs

VERBS: tuple[Verb, ...] = (
    ("demo", "backtest.cli.demo:demo", "See it work: seeded data, no network, no keys."),
    ("fetch", "backtest.cli.fetch:fetch", "History from an exchange, only what is missing."),
    ("record", "backtest.cli.record:record", "Live from exchanges: liquidations, marks, open interest, depth."),
    ("synth", "backtest.cli.synth:synth", "Simulate years of a market, with the truth of what happened."),
    ("status", "backtest.cli.status:status", "What the store holds, and since when."),
    ("schema", "backtest.cli.schema:schema", "Every table and column, with units."),
    ("export", "backtest.cli.export:export", "Write stored data to files."),
    ("strategies", "backtest.cli.strategies:strategies", "What there is to run: thesis, parameters, data."),
    ("run", "backtest.cli.run:run", "A strategy over stored bars, with everything that costs."),
    ("sweep", "backtest.cli.sweep:sweep", "Many parameter sets, ranked, and how lonely the best is."),
    ("walkforward", "backtest.cli.walkforward:walkforward", "Fit on the past, trade what follows, stitched together."),
    ("report", "backtest.cli.report:report", "A page of a result: numbers, costs, and how far to believe it."),
    ("compare", "backtest.cli.compare:compare", "Several results on one page."),
    ("trials", "backtest.cli.trials:trials", "What was tried on stored markets, and what luck adds."),
    ("stress", "backtest.cli.stress:stress", "Shock a venue: cascades, insurance fund, deleveraging."),
    ("verify", "backtest.cli.verify:verify", "Check margins and funding against published examples."),
    ("compact", "backtest.cli.compact:compact", "Rewrite the store smaller and sorted."),
    ("doctor", "backtest.cli.doctor:doctor", "Is everything there, and does it work?"),
    ("completion", "backtest.cli.completion:completion", "A script for your shell to complete with."),
    ("lab", "backtest.cli.lab:lab", "Open JupyterLab on the notebooks."),
)

GROUPS: dict[str, tuple[str, tuple[Verb, ...]]] = {
    "import": (
        "Bring data that you have into the store.",
        (
            ("archive", "backtest.cli.import_:archive", "An exchange's public archive files."),
            ("file", "backtest.cli.import_:file", "A CSV or Parquet file of your own."),
            ("tiers", "backtest.cli.import_:tiers", "Leverage and maintenance margin tiers."),
            ("lake", "backtest.cli.import_:lake", "A folder of partitioned Parquet files."),
        ),
    ),
    "check": (
        "Look for faults before they look like profit.",
        (
            ("data", "backtest.cli.check:data", "Gaps, duplicates, impossible bars, stale marks."),
            ("lookahead", "backtest.cli.check_strategy:lookahead", "Does a strategy know what came later?"),
            ("warmup", "backtest.cli.check_strategy:warmup", "Does it depend on where the market began?"),
        ),
    ),
    "new": (
        "Start something of your own.",
        (("strategy", "backtest.cli.new:strategy", "A strategy that works, with its tests."),),
    ),
}


HELP = """Backtesting and strategy research for crypto perpetual futures.

With every command: --quiet (-q) leaves out notes and progress, --verbose (-v) says what it took
and shows tracebacks."""


def build_app(tokens: Sequence[str]) -> App:
    """The command line for these tokens: nothing of a verb is imported yet."""
    app = App(
        name="unwind",
        help=HELP,
        version=_version,
        help_format="plaintext",
        suppress_keyboard_interrupt=False,
        result_action="return_int_as_exit_code_else_zero",
    )
    _register(app, VERBS, tokens)
    for name, (summary, verbs) in GROUPS.items():
        group = App(name=name, help=summary)
        _register(group, verbs, tokens)
        app.command(group)
    return app


def _version() -> str:
    from importlib.metadata import version

    return f"unwind {version('unwind')}"


def _register(app: App, verbs: Sequence[Verb], tokens: Sequence[str]) -> None:
    for name, target, summary in verbs:
        # A summary given here would replace the docstring in the verb's own --help.
        app.command(target, name=name, help=None if name in tokens else summary)


def main(tokens: Sequence[str] | None = None) -> int:
    """Run one command line; the exit code."""
    words, talk = talk_of(list(sys.argv[1:] if tokens is None else tokens))
    try:
        with talk, _heard():
            code = _run(words)
        sys.stdout.flush()
    except BrokenPipeError:
        return _reader_left()
    return code


@contextlib.contextmanager
def _heard() -> Iterator[None]:
    """A Ctrl-C that comes while a compiler calls back into Python is dropped there: it comes once more."""
    before = sys.unraisablehook

    def again(what: sys.UnraisableHookArgs) -> None:
        if issubclass(what.exc_type, KeyboardInterrupt):
            threading.Timer(0.05, _thread.interrupt_main).start()
        else:
            before(what)

    sys.unraisablehook = again
    try:
        yield
    finally:
        sys.unraisablehook = before


def _run(tokens: list[str]) -> int:
    try:
        return int(build_app(tokens)(tokens, exit_on_error=False))
    except CycloptsError as error:  # printed already
        print(f"{_help_of(error)} says what there is", file=sys.stderr)
        return 2
    except UnwindError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _complain("interrupted", 130)
    except RuntimeError as error:
        if "Query interrupted" not in str(error):  # the store's own word for Ctrl-C
            raise
        return _complain("interrupted", 130)
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        return _complain(f"{error.filename}: {error.strerror}", 2)


def _help_of(error: CycloptsError) -> str:
    return " ".join(["unwind", *(error.command_chain or ()), "--help"])


def _complain(message: str, code: int) -> int:
    if os.environ.get("UNWIND_DEBUG", "0") not in ("", "0"):
        import traceback

        traceback.print_exc()
    print(f"unwind: {message}", file=sys.stderr)
    return code


def _reader_left() -> int:
    """`unwind ... | head`: say nothing, neither now nor when Python flushes at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1
