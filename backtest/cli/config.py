"""The file of a walk-forward: one TOML, strict, each mistake with its line.

    found = read(Path("mine.toml"))     # a Config, or BadInput: mine.toml:14: [plan] has no key objektive: did you mean

Tables and keys are those of `templates/walkforward.toml`, which `unwind walkforward --example` prints. Paths in the
file are seen from its folder.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from backtest.cli.research import Asked
from backtest.given import is_number, is_whole
from data.errors import BadInput, NotFound, did_you_mean

if TYPE_CHECKING:
    from backtest.strategy import Strategy
    from backtest.walkforward import Plan

TEXT, WHOLE, NUMBER, FLAG = (str,), (int,), (int, float), (bool,)
TIME = (str, dt.date, dt.datetime)
TEXTS = (list,)
WORDS: dict[tuple[type, ...], str] = {
    TEXT: "a text",
    WHOLE: "a whole number",
    NUMBER: "a number",
    FLAG: "true or false",
    TEXTS: "a list of texts",
    TIME: 'a time, such as "2024-01-01"',
}
ONE: dict[type, str] = {str: "a text", list: "a list of texts", dict: "a table", bool: "true or false"}
EXAMPLE = Path(__file__).parent / "templates" / "walkforward.toml"

Kinds = dict[str, tuple[type, ...]]


@dataclass(frozen=True)
class Config:
    path: Path
    asked: Asked
    db: Path | None
    strategy: str
    fixed: dict[str, Any]
    vary: dict[str, Any]
    plan: Plan
    method: str = "grid"
    count: int | None = None
    seed: int = 0
    most: int | None = None
    account: dict[str, Any] = field(default_factory=dict)
    rules: str = ""
    costs: dict[str, Any] = field(default_factory=dict)
    require: tuple[str, ...] = ()

    def said_of(self, table: str) -> contextlib.AbstractContextManager[None]:
        return said_of(self.path, table)


@contextlib.contextmanager
def said_of(path: Path, table: str) -> Iterator[None]:
    """A mistake in a table's values is said with the file and the table."""
    try:
        yield
    except BadInput as error:
        raise BadInput(f"{path}: [{table}] {error}") from None


def read(path: Path) -> Config:
    from backtest.folds import METHODS

    text = _text(path)
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadInput(f"{path}: {error}") from None
    _check(path, text, found)
    for needed, example in (("data", 'symbols = ["BTC/USDT:USDT"]'), ("strategy", 'name = "FundingSqueeze"')):
        name = example.partition(" ")[0]
        if name not in found.get(needed, {}):
            raise BadInput(f"{path}: [{needed}] needs {example}; `unwind walkforward --example` shows a whole file")
    data, strategy, sampling = found["data"], found["strategy"], found.get("sampling", {})
    account = dict(found.get("account", {}))
    if (method := sampling.get("method", "grid")) not in METHODS:  # said here with its line
        raise BadInput(f"{_place(path, text, 'sampling', 'method')}: {method}: {did_you_mean(method, METHODS)}")
    if (method == "grid") == ("count" in sampling):
        wrong = "count" if method == "grid" else "method"
        needed = f"{method} needs count, the number of sets to try: add count = 500, say"
        instead = 'count is of a sample: add method = "sobol", or leave it out' if method == "grid" else needed
        raise BadInput(f"{_place(path, text, 'sampling', wrong)}: {instead}")
    return Config(
        path=path,
        asked=_asked(data),
        db=path.parent / Path(data["db"]).expanduser() if "db" in data else None,
        strategy=_from_here(path, strategy["name"]),
        fixed=strategy.get("set", {}),
        vary=found.get("vary", {}),
        plan=_plan(path, found.get("plan", {})),
        rules=str(account.pop("rules", "")),
        account=account,
        costs=found.get("costs", {}),
        require=tuple(found.get("accept", {}).get("require", ())),
        **sampling,
    )


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        there = [one.name for one in path.parent.glob("*.toml")] if path.parent.is_dir() else []
        hint = did_you_mean(path.name, there) if there else "`unwind walkforward --example > mine.toml` writes one"
        raise NotFound(f"there is no file {path}: {hint}") from None
    except IsADirectoryError:
        raise BadInput(
            f"{path} is a folder: name the TOML file, or make a page of it with `unwind report {path}`"
        ) from None
    except OSError as error:
        raise BadInput(f"{path} cannot be read: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise BadInput(f"{path} cannot be read: it is no text in UTF-8") from None


def _from_here(path: Path, name: str) -> str:
    """A strategy's file as seen from the config."""
    return str(path.parent / name) if re.search(r"\.py(:\w+)?$", name) else name


def _asked(data: Mapping[str, Any]) -> Asked:
    symbols = data["symbols"]
    return Asked(
        symbols=symbols if isinstance(symbols, str) else ",".join(symbols),
        interval=data.get("interval", "1h"),
        start=str(data.get("from", "")),
        end=str(data.get("to", "")),
        venue=data.get("venue", ""),
    )


def _plan(path: Path, values: Mapping[str, Any]) -> Plan:
    from backtest.walkforward import Plan

    given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    with said_of(path, "plan"):
        return Plan(**given)


# ---- strict ------------------------------------------------------------------------------------------


def keys() -> dict[str, Kinds | None]:
    """Tables, and the kinds of value that their keys take. None: the keys are the strategy's parameters."""
    from backtest.account import Account
    from backtest.costs import Costs
    from backtest.walkforward import Plan

    return {
        "data": {"db": TEXT, "venue": TEXT, "symbols": (str, list), "interval": TEXT, "from": TIME, "to": TIME},
        "strategy": {"name": TEXT, "set": (dict,)},
        "vary": None,
        "sampling": {"method": TEXT, "count": WHOLE, "seed": WHOLE, "most": WHOLE},
        "plan": _kinds(Plan),
        "account": {**_kinds(Account), "mode": (str, dict), "pairs": TEXTS, "rules": TEXT},
        "costs": {**_kinds(Costs), "stress": (bool, dict)},
        "accept": {"require": TEXTS},
    }


def _kinds(cls: Any) -> Kinds:
    """By the defaults of a dataclass."""
    found: Kinds = {}
    for one in fields(cls):
        default = one.default if one.default is not MISSING else None
        kinds = {bool: FLAG, int: WHOLE, float: NUMBER, str: TEXT, tuple: TEXTS}
        found[one.name] = kinds.get(type(default), NUMBER if "float" in str(one.type) else TEXT)
    return found


def _check(path: Path, text: str, found: Mapping[str, Any]) -> None:
    tables = keys()
    for table, values in found.items():
        place = _place(path, text, table, None)
        if not isinstance(values, dict):
            home = next((name for name, known in tables.items() if known and table in known), "plan")
            raise BadInput(f"{place}: {table} stands in no table: write it under [{home}], say")
        if table not in tables:
            raise BadInput(f"{place}: there is no table [{table}]: {did_you_mean(table, tables)}")
        known = tables[table]
        for key, value in values.items():
            if known is not None:
                _check_key(_place(path, text, table, key), table, key, value, known)


def _check_key(place: str, table: str, key: str, value: Any, known: Kinds) -> None:
    if key not in known:
        raise BadInput(f"{place}: [{table}] has no key {key}: {did_you_mean(key, known)}")
    kinds = known[key]
    flag = isinstance(value, bool) and bool not in kinds  # true is a number to Python, and to nobody else
    listed = isinstance(value, list) and key != "pairs" and not all(isinstance(one, str) for one in value)
    if flag or listed or not isinstance(value, kinds):
        wanted = WORDS.get(kinds) or " or ".join(ONE[kind] for kind in kinds)
        raise BadInput(f"{place}: [{table}] {key} = {value!r}: write {wanted}")


def _place(path: Path, text: str, table: str, key: str | None) -> str:
    """The file and the line of a key, where it is written as one."""
    inside = ""
    for number, line in enumerate(text.splitlines(), 1):
        header = re.match(r"\s*\[+\s*([^\]]+?)\s*\]+", line)
        inside = header[1] if header else inside
        if key is None:
            hit = bool(header and inside.split(".")[0] == table) or bool(
                re.match(rf"\s*{re.escape(table)}\s*[.=]", line)
            )
        elif header:
            hit = inside.split(".")[:2] == [table, key]
        else:
            own = inside == table and re.match(rf"""\s*["']?{re.escape(key)}["']?\s*[.=]""", line)
            hit = bool(own) or bool(re.match(rf"\s*{re.escape(table)}\.{re.escape(key)}\s*[.=]", line))
        if hit:
            return f"{path}:{number}"
    return str(path)


# ---- what it means for a strategy --------------------------------------------------------------------


def varied_of(config: Config, base: Strategy) -> dict[str, Any]:
    """The axes of [vary], or those that the strategy declares; a large grid is refused."""
    from backtest import space
    from backtest.cli.axes import MOST, axes_from, check_size, declared_axes, span_of

    grid, declared = config.method == "grid", type(base).declared()
    with config.said_of("vary"):
        if both := sorted(set(config.vary) & set(config.fixed)):
            raise BadInput(f"{both[0]} is varied, and set in [strategy.set]: leave one of them out")
        given: dict[str, Any] = {}
        for name, value in config.vary.items():
            if isinstance(value, str):
                given |= axes_from(base, {name: value}, grid)
            elif isinstance(value, dict) and name in declared:
                given[name] = span_of(declared[name], **_span(name, value), grid=grid, where=name)
            else:
                given[name] = value
        axes = space.axes_of(base, given or declared_axes(base, config.fixed))
    if grid:
        smaller = 'Name fewer values in [vary], take a sample ([sampling] method = "sobol", count = 1000), or allow it'
        check_size(base, axes, None, config.most or MOST, f"{smaller} with a larger [sampling] most")
    return axes


def _span(name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    usual: dict[str, Any] = {"low": None, "high": None, "log": False, "steps": 0}
    for key in value:
        if key not in usual:
            raise BadInput(f"{name}: a range has no {key}: {did_you_mean(key, usual)}")
    found = usual | dict(value)
    if not all(is_number(found[end]) for end in ("low", "high")):
        raise BadInput(f"{name}: a range needs its ends: {{low = 1, high = 5}}")
    if not is_whole(found["steps"]) or not isinstance(found["log"], bool):
        raise BadInput(f"{name}: of a range, steps is a whole number, and log is true or false")
    return {**found, "low": float(found["low"]), "high": float(found["high"])}


def require_names(plan: Plan) -> list[str]:
    """What a requirement may be of: of an ensemble, what there is of several accounts."""
    from backtest.metrics import NAMES
    from backtest.walkforward import NOT_OF_SEVERAL

    measures = [name for name in NAMES if plan.ensemble == 1 or name not in NOT_OF_SEVERAL]
    folds = ("flat", "resumed", f"{plan.objective}_in", f"{plan.objective}_out", "rank", "agreement")
    out = ("sharpe_low", "sharpe_high", "psr", "dsr")
    return [*(f"oos.{name}" for name in (*measures, *out)), "folds", *(f"folds.{name}" for name in folds), "trials"]
