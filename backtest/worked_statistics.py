"""Worked cases of statistics: published numbers of inference, splits and cascades, run through the public functions.

A case of this kind names what it is in words, gives `inputs`, the `expected` answer (a number, a list, or several by
name) and `abs_tol`. `as_case` reads it: the kind is the one it states, or the first of `WORDS` that its name or
formula says. Numbers may be written as sums, "2.5/sqrt(250)".

The kinds that live in `strategies`, which this package may not import, are added by the command line.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from backtest import inference, splits
from backtest.worked import Case, Underdetermined
from backtest.worked_cascades import KINDS as CASCADES
from backtest.worked_numbers import Read, number
from data.errors import BadInput, UnwindError

STATISTICS = "statistics"  # where another case names a venue
ANSWER = "answer"

ELSEWHERE = ("hawkes_likelihood", "hawkes_compensator", "hawkes_branching", "markov_autoregression")
WORDS: tuple[tuple[str, str], ...] = (  # (pattern, kind): the first that fits the name, else the formula
    (r"post-adl", "equity_after_haircut"),
    (r"bad debt", "slice_bad_debt"),
    (r"exact (e\[max|expected max)", "exact_maximum"),
    (r"var(iance)?\W*(of )?(the )?max", "maximum_variance"),
    (r"minbtl|minimum backtest", "min_backtest_length"),
    (r"mintrl|minimum track", "min_track_record"),
    (r"dsr hurdle|expected max|e\[max", "expected_maximum"),
    (r"\bdsr\b|deflated", "dsr"),
    (r"\bpsr\b|probabilistic sharpe", "psr"),
    (r"pfdr", "positive_false_discovery"),
    (r"ofdr", "observed_false_discovery"),
    (r"power", "power"),
    (r"critical|sr_c\b", "critical_sharpe"),
    (r"lo table|iid se\b", "lo_standard_error"),
    (r"sharpe std|std error|sigma_sr|standard error", "sharpe_error"),
    (r"\beta\(", "lo_factor"),
    (r"ar\(1\) factor", "autocorrelation_factor"),
    (r"harvey|haircut", "haircut_sharpe"),
    (r"adjusted p|multipletests", "adjusted_p_values"),
    (r"cpcv counts|splits=c\(", "cpcv_counts"),
    (r"cpcv|combinatorialpurged", "cpcv_train"),
    (r"cscv split count", "cscv_halves"),
    (r"cscv|\bpbo\b", "cscv"),
    (r"block length", "block_length"),
    (r"\bspa\b|reality check", "superior_order"),
    (r"hamilton|markovautoregression", "markov_autoregression"),
    (r"hawkes.*compensator|compensator", "hawkes_compensator"),
    (r"hawkes.*branching|branching", "hawkes_branching"),
    (r"hawkes", "hawkes_likelihood"),
    (r"bankruptcy price", "paper_bankruptcy"),
    (r"isolated liquidation price", "liquidation_both_sides"),
    (r"liquidation price", "paper_liquidation"),
    (r"vwap|linear-impact", "linear_impact"),
    (r"liquidation fee", "liquidation_fees"),
    (r"partial-liquidation|slice$", "partial_slice"),
    (r"equity after funding", "equity_after_funding"),
    (r"leverage mass", "leverage_mass"),
    (r"insurance fund", "optimal_fund"),
    (r"maintenance amount", "tier_amounts"),
)


def is_statistic(raw: object) -> bool:
    """Whether a case of a file is of this kind: it names no venue, and its answer is bare or has a bare tolerance."""
    if not isinstance(raw, Mapping) or raw.get("venue"):
        return False
    return (
        "abs_tol" in raw
        or raw.get("kind") in (*KINDS, *ELSEWHERE)
        or ("expected" in raw and not isinstance(raw["expected"], dict) and isinstance(raw.get("inputs"), Mapping))
    )


def as_case(raw: Mapping[str, Any], number: int, where: str) -> Case:
    name = str(raw.get("id") or f"case {number}")
    if not isinstance(raw.get("inputs"), dict):
        raise BadInput(f"{where}: {name} has no 'inputs', or it is not an object")
    if raw.get("expected") is None:
        raise BadInput(f"{where}: {name} expects nothing: write the answer into 'expected'")
    tolerance = raw.get("abs_tol", 0.0)
    if isinstance(tolerance, bool) or not isinstance(tolerance, int | float) or not 0.0 <= tolerance < math.inf:
        raise BadInput(f"{where}: {name}: abs_tol is {tolerance!r}: write a finite number, 0 or more")
    said = {key: str(raw.get(key) or "") for key in ("name", "formula")}
    return Case(
        id=name,
        venue=STATISTICS,
        contract="linear",
        kind=kind_of(str(raw.get("kind") or ""), said["name"], said["formula"]),
        inputs={**raw["inputs"], **{f"the {key}": text for key, text in said.items()}},
        expected={ANSWER: raw["expected"]},
        tolerance={"abs": float(tolerance)},
        source=str(raw.get("source") or ""),
    )


def kind_of(stated: str, name: str, formula: str) -> str:
    if stated in KINDS or stated in ELSEWHERE:
        return stated
    for text in (name.lower(), formula.lower()):
        for pattern, kind in WORDS:
            if re.search(pattern, text):
                return kind
    return stated or "unnamed"


# --- kinds -----------------------------------------------------------------------------------------------------------


def _min_track_record(read: Read) -> float:
    """In years where the inputs are annual or say what to divide by."""
    probability = read.number("probability", 1.0 - read.number("alpha", 0.05))
    m = read.moments(n=read.number("n", 2.0))
    found = inference.min_track_record(m, read.benchmark(), probability, convention=read.convention)
    return found / read.number("divide_by", read.number("periods", 1.0))


def _sharpe_error(read: Read) -> float:
    at = read.number("benchmark") if read.has("benchmark") else None
    variance = inference.sharpe_variance(read.moments(), at, convention=read.convention)
    return math.sqrt(variance * (read.shrunk() if read.convention == "2025" else 1.0))


def _psr(read: Read) -> float:
    return inference.psr(read.moments(), read.benchmark(), convention=read.convention)


def _dsr(read: Read) -> float:
    return inference.dsr(read.moments(), read.trials(), convention=read.convention, benchmark=read.benchmark())


def _of_alpha(function: Callable[..., float]) -> Callable[[Read], float]:
    def found(read: Read) -> float:
        m = read.moments()
        more = (read.number("alternative"),) if function is inference.power else ()
        return function(m, *more, read.benchmark(), read.number("alpha", 0.05), shrunk=read.shrunk())

    return found


def _observed(read: Read) -> float:
    return inference.observed_false_discovery(
        read.moments(), read.number("alternative"), read.number("prior"), read.benchmark(), shrunk=read.shrunk()
    )


def _haircut(read: Read) -> list[float]:
    if read.has("n_months"):
        months = read.number("n_months")
    elif read.has("n_days"):
        months = math.floor(read.number("n_days") * 12.0 / 360.0)
    else:
        months = read.number("n")
    found = inference.haircut_sharpe(
        read.number("sharpe_annual"), months, read.whole("trials"), rho=read.number("rho", 0.0)
    )
    return [found.p, found.adjusted_p, found.haircut_sharpe]


def _lo_factor(read: Read) -> float:
    rho = read.any("rho")
    given = np.array([number(one) for one in rho]) if isinstance(rho, list) else read.number("rho", 0.0)
    return inference.lo_factor(given, read.whole("q"))


def _adjusted(read: Read) -> list[float]:
    found = inference.adjusted_p_values(read.numbers("p"), str(read.any("method") or "holm"))  # type: ignore[arg-type]
    return [float(p) for p in found]


def _cpcv_counts(read: Read) -> list[int]:
    many = read.whole("n_folds") if read.has("n_folds") else read.whole("n")
    tested = read.any("n_test_folds") if read.has("n_test_folds") else read.raw.get("k")
    return list(splits.counts(many, round(number(tested, "k"))))


def _cpcv_train(read: Read) -> list[list[int]]:
    made = splits.combinatorial(
        read.whole("n"),
        read.whole("n_folds"),
        read.whole("n_test_folds"),
        purge=read.whole("purged_size", 0),
        embargo=read.whole("embargo_size", 0),
    )
    return [fold.train.tolist() for fold in made.folds]


def _cscv(read: Read) -> dict[str, Any]:
    table = read.raw.get("m")
    if not isinstance(table, list):
        raise Underdetermined("its inputs have no table M of periods by trials")
    metric = "mean" if "metric=mean" in read.text or read.raw.get("metric") == "mean" else "sharpe"
    found = inference.pbo(table, read.whole("blocks"), metric)  # type: ignore[arg-type]
    return {"logits": [float(x) for x in found.logits], "pbo": found.pbo, "slope": found.slope, "loss": found.loss}


PROCESS = re.compile(
    r"randomstate\((?P<seed>\d+)\)\.standard_normal\((?P<n>\d+)\).*?ar\(1\)\s*(?P<rho>-?[\d.]+).*?drop\s*(?P<drop>\d+)"
)


def _block_length(read: Read) -> list[float]:
    if read.has("values"):
        values = read.numbers("values")
    else:
        made = PROCESS.search(str(read.raw.get("dgp", "")).lower())
        if made is None:
            raise Underdetermined("its inputs have neither values nor a process that can be drawn again")
        values = np.random.RandomState(int(made["seed"])).standard_normal(int(made["n"]))
        for i in range(1, len(values)):
            values[i] += float(made["rho"]) * values[i - 1]
        values = values[int(made["drop"]) :]
    found = inference.block_lengths(values)
    return [found.stationary, found.circular]


def _superior_order(read: Read) -> str:
    """Of a table that is given, else of two hundred periods of ten trials, one with an edge."""
    rng = np.random.default_rng(read.whole("seed", 0))
    table = read.numbers("returns") if read.has("returns") else rng.normal(size=(200, 10)) + 0.1 * (np.arange(10) == 3)
    found = inference.superior(table, draws=500)
    return "inequalities" if found.lower <= found.consistent <= found.upper else "broken"


Kind = Callable[[Case], dict[str, Any]]


def _answer(function: Callable[[Read], Any]) -> Kind:
    """A kind of one answer; where there are several, the one of the form that is expected."""

    def kind(case: Case) -> dict[str, Any]:
        try:
            found = function(Read(case))
        except BadInput as error:
            raise Underdetermined(str(error)) from None
        except UnwindError as error:
            raise Underdetermined(str(error)) from None
        return {ANSWER: _of_form(found, case.expected[ANSWER])}

    return kind


def _of_form(found: Any, expected: Any) -> Any:
    if not isinstance(found, dict) or isinstance(expected, dict):
        return found
    for value in found.values():
        if isinstance(value, list) == isinstance(expected, list):
            return value
    return found


KINDS: dict[str, Kind] = {
    name: _answer(function)
    for name, function in {
        "expected_maximum": lambda r: inference.expected_maximum(r.number("trials"), r.number("variance", 1.0)),
        "exact_maximum": lambda r: inference.exact_maximum(r.number("trials"))[0],
        "maximum_variance": lambda r: inference.exact_maximum(r.number("trials"))[1] * r.number("variance", 1.0),
        "min_backtest_length": lambda r: inference.min_backtest_length(r.number("trials"), r.number("target_sr", 1.0)),
        "min_track_record": _min_track_record,
        "psr": _psr,
        "dsr": _dsr,
        "sharpe_error": _sharpe_error,
        "critical_sharpe": _of_alpha(inference.critical_sharpe),
        "power": _of_alpha(inference.power),
        "positive_false_discovery": lambda r: inference.positive_false_discovery(
            r.number("prior"), r.number("alpha"), r.number("power") if r.has("power") else 1.0 - r.number("beta")
        ),
        "observed_false_discovery": _observed,
        "lo_standard_error": lambda r: inference.lo_standard_error(r.number("sharpe"), r.number("n")),
        "lo_factor": _lo_factor,
        "autocorrelation_factor": lambda r: inference.autocorrelation_factor(r.number("rho"), r.number("q")),
        "haircut_sharpe": _haircut,
        "adjusted_p_values": _adjusted,
        "cpcv_counts": _cpcv_counts,
        "cpcv_train": _cpcv_train,
        "cscv_halves": lambda r: inference.halves(r.whole("blocks")),
        "cscv": _cscv,
        "block_length": _block_length,
        "superior_order": _superior_order,
        **CASCADES,
    }.items()
}
