"""Inputs of a worked case of statistics, by what they mean: the same quantity goes by many letters in the papers."""

from __future__ import annotations

import ast
import math
import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from backtest import inference
from backtest.worked import Case, Underdetermined

SUMS: dict[type[ast.AST], Callable[..., float]] = {
    ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv,
    ast.Pow: operator.pow, ast.USub: operator.neg, ast.UAdd: operator.pos,
}  # fmt: skip
LARGEST_POWER = 64.0
PAPER = 0.036 / 0.079  # the ratio of the example of the paper of 2025, mean over deviation


def number(value: Any, name: str = "a value") -> float:
    """A number, or a sum of numbers as text: "0.5/250", "p=2/19", "2.5/sqrt(250)"."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        try:
            return _reckoned(ast.parse(value.rpartition("=")[2].strip(), mode="eval").body)
        except (SyntaxError, RecursionError, ValueError):
            pass
    raise Underdetermined(f"{name} is {value!r}, which is no number")


def _reckoned(node: ast.AST) -> float:
    if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
        return float(node.value)
    if isinstance(node, ast.UnaryOp) and type(node.op) in SUMS:
        return SUMS[type(node.op)](_reckoned(node.operand))
    if isinstance(node, ast.BinOp) and type(node.op) in SUMS:
        left, right = _reckoned(node.left), _reckoned(node.right)
        if isinstance(node.op, ast.Pow) and abs(right) > LARGEST_POWER:
            raise ValueError("a power that large")
        return float(SUMS[type(node.op)](left, right))
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "sqrt" and len(node.args) == 1:
        return math.sqrt(_reckoned(node.args[0]))
    raise ValueError("not a sum of numbers")


SAME = {
    "sharpe": ("sr", "sharpe", "sharpe_ratio", "sr_hat", "est_sharpe"),
    "n": ("n", "t", "n_obs", "nobs", "num_obs", "observations", "backtest_horizon", "track_length"),
    "skew": ("skew", "g3", "gamma3", "skewness"),
    "kurtosis": ("kurt", "g4", "gamma4", "kurtosis"),
    "benchmark": ("benchmark", "sr0", "sr_star", "sr_benchmark", "target_sharpe", "sr*"),
    "trials": ("k", "n_trials", "num_test", "num_tests", "trials", "nb_trials", "m"),
    "variance": ("var", "var_trials", "variance", "var_sr", "var_sharpe"),
    "probability": ("prob", "probability", "confidence"),
    "rho": ("rho", "rho_a", "autocorrelation", "ar1", "r"),
    "alternative": ("sr1", "alternative"),
    "prior": ("p_h1", "prior", "p1"),
    "blocks": ("s", "blocks", "n_partitions"),
}


class Read:
    """Inputs of a case by what they mean."""

    def __init__(self, case: Case) -> None:
        self.raw = {str(name).lower(): value for name, value in case.inputs.items() if value is not None}
        self.text = f"{self.raw.get('the name', '')} {self.raw.get('the formula', '')}".lower()

    def has(self, *names: str) -> bool:
        return any(key in self.raw for name in names for key in SAME.get(name, (name,)))

    def any(self, name: str) -> Any:
        return next((self.raw[key] for key in SAME.get(name, (name,)) if key in self.raw), None)

    def number(self, name: str, instead: float | None = None) -> float:
        value = self.any(name)
        if value is None:
            if instead is None:
                raise Underdetermined(f"its inputs have no {name}")
            return instead
        return number(value, name)

    def whole(self, name: str, instead: int | None = None) -> int:
        value = self.number(name, instead)
        if value != round(value):
            raise Underdetermined(f"{name} is {value:g}, not a whole number")
        return round(value)

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        value = self.any(name)
        if not isinstance(value, list):
            raise Underdetermined(f"its inputs have no list called {name}")
        return np.array(value, dtype=np.float64)

    @property
    def convention(self) -> Any:
        said = str(self.raw.get("convention", ""))
        return "2025" if "2025" in said or "2025" in self.text else "2012"

    def moments(self, n: float | None = None) -> Any:
        """`n`: where the inputs have no length."""
        if self.has("returns"):
            return inference.moments(self.numbers("returns"))
        if self.has("sharpe"):
            sharpe = self.number("sharpe")
        elif self.has("mu") and self.has("sigma"):
            sharpe = self.number("mu") / self.number("sigma")
        elif self.has("sr_annual") and self.has("periods"):
            sharpe = self.number("sr_annual") / math.sqrt(self.number("periods"))
        elif self.convention == "2025":
            sharpe = PAPER  # whose cases do not always repeat it
        else:
            sharpe = self.number("sharpe")
        length = self.number("n", n)
        return inference.Moments(
            length, sharpe, self.number("skew", 0.0), self.number("kurtosis", 3.0), self.number("rho", 0.0)
        )

    def benchmark(self) -> float:
        if self.has("benchmark_annual"):
            return self.number("benchmark_annual") / math.sqrt(self.number("periods"))
        return self.number("benchmark", 0.0)

    def trials(self) -> Any:
        return inference.Trials(self.number("trials"), self.number("variance"))

    def shrunk(self) -> float:
        """Of the largest of several ratios."""
        return float(inference.exact_maximum(self.number("trials"))[1]) if self.has("trials") else 1.0
