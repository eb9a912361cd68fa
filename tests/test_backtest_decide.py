"""backtest.decide: what `decide` may name, the text that is compiled of it, and what it says when it goes wrong."""

from __future__ import annotations

import importlib.util
import inspect
import linecache
import math
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backtest.decide import Binding, bind, compilable, compile_decide, explain
from backtest.strategy import HOLD, MISSING, RAISED, STATE, Strategy
from backtest.written import found, node, written
from data.errors import BadInput

pytestmark = pytest.mark.kernel
needs_jit = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="nothing is compiled with NUMBA_DISABLE_JIT=1")

HEAD = """
import math
import numpy as np
from backtest.strategy import HOLD, Strategy
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModuleType]:
    """Writes a file and imports it."""
    # bytecode of an earlier text of the same length and second would be taken for this one's
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def made(text: str, name: str = "ideas") -> ModuleType:
        file = tmp_path / f"{name}.py"
        file.write_text(textwrap.dedent(text))
        spec = importlib.util.spec_from_file_location(name, file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    return made


@pytest.fixture
def decide_of(module: Callable[..., ModuleType]) -> Callable[..., Binding]:
    """The binding of a `decide` in a file of its own: its body, with features a and b and a parameter x of 2.0."""

    def made(body: str, above: str = "", arguments: str = "a, b, x") -> Binding:
        lines = [HEAD + textwrap.dedent(above), "class Idea(Strategy):", "    x: float = 2.0", "    @staticmethod"]
        lines += [f"    def decide({arguments}):", textwrap.indent(textwrap.dedent(body).strip("\n"), " " * 8)]
        return bind(module("\n".join(lines) + "\n").Idea, ("a", "b"))

    return made


def answer(function: Callable[..., Any], *arguments: float) -> float:
    """What plain Python answers, in the words of a compiled one."""
    try:
        found = function(*arguments)
    except Exception:  # noqa: BLE001 - of any kind
        return RAISED
    return MISSING if found is None else float(found)


def text_of(binding: Binding) -> str:
    return compilable(binding).text


class Fade(Strategy):
    window: str = "3d"
    entry_z: float = 2.0
    calm: bool = True
    lots: int = 3

    @staticmethod
    def decide(position, z, entry_z, calm, lots, equity):
        if position == 0.0 and calm:
            if z > entry_z:
                return -lots
            if z < -entry_z:
                return lots * 0.5
        elif abs(z) < 0.5 or equity < 1.0:
            return 0.0
        return HOLD


# ---- binding -------------------------------------------------------------------------------------


def test_each_argument_is_a_feature_a_parameter_or_a_state() -> None:
    bound = bind(Fade, ["z", "unused"])
    assert bound.features == ("z",)
    assert bound.parameters == ("entry_z", "calm", "lots")
    assert bound.state == ("position", "equity")
    assert bound.order[:3] == (("state", "position"), ("feature", "z"), ("parameter", "entry_z"))
    assert bound.arguments == tuple(inspect.signature(Fade.decide).parameters)
    assert bound.types == (float, float, float, bool, int, float)
    assert bound.function is Fade.decide


def test_a_class_and_an_instance_bind_alike() -> None:
    assert bind(Fade(entry_z=9), ["z"]) == bind(Fade, ["z"])


def test_all_states_can_be_named() -> None:
    class All(Strategy):
        @staticmethod
        def decide(
            position,
            entry_price,
            bars_held,
            unrealized,
            equity,
            drawdown,
            margin_ratio,
            bars_since_liquidation,
        ):
            return HOLD

    assert bind(All, ()).state == STATE


def test_a_base_lends_its_decide() -> None:
    class Other(Fade):
        entry_z = 3.0

    assert bind(Other, ["z"]).function is Fade.decide
    assert text_of(bind(Other, ["z"])) == text_of(bind(Fade, ["z"]))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("calm", "Idea.decide names calm, which has no type, so it is no parameter: write calm: bool = True"),
        ("positions", "Idea.decide names positions, no feature, parameter or state: did you mean position?"),
        ("funding", "no feature, parameter or state: did you mean funding_z?"),
        ("entry", "did you mean entry_z?"),
        ("open_interest", 'return it from features(), as {"open_interest": market.open_interest}'),
        ("window", "Idea.decide names window, a text ('3d'): decide takes numbers; use window in features()"),
        ("self, position", "leave self out"),
        ("*z", "takes *z: name each feature"),
        ("**z", "takes **z: name each feature"),
        ("*, position", "position comes after a *: leave the * out"),
        ("entry_z=2.0", "entry_z=2.0 is a default: declare entry_z in the class"),
    ],
)
def test_wrong_arguments_are_refused(arguments: str, message: str) -> None:
    space: dict[str, Any] = {}
    exec(f"def decide({arguments}): return 0.0", space)

    class Idea(Strategy):
        window: str = "3d"
        entry_z: float = 2.0
        calm = True
        decide = staticmethod(space["decide"])

    with pytest.raises(BadInput) as refused:
        bind(Idea, ["funding_z"])
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["entry_z", "equity"])
def test_a_name_is_one_thing(name: str) -> None:
    with pytest.raises(BadInput, match=f"the feature {name} is also the name of"):
        bind(Fade, ["z", name])


def test_a_strategy_without_decide_is_refused() -> None:
    class Nothing(Strategy):
        pass

    with pytest.raises(BadInput, match="Nothing has no decide"):
        bind(Nothing, ())


def test_decide_is_a_plain_function() -> None:
    assert Fade.decide(0.0, 3.0, 2.0, True, 3, 1.0) == -3
    assert Fade().decide(0.0, 0.0, 2.0, True, 3, 1.0) == HOLD


# ---- answers -------------------------------------------------------------------------------------

ANSWERS = {
    "raise": "if a > 1.0: raise ValueError('no')\nreturn a",
    "raise something made": "if a > 1.0:\n    raise ValueError(f'{a:.3f} of {b}') from None\nreturn a",
    "raise a class": "if a > 1.0: raise ValueError\nreturn a",
    "assert": "assert a < 1.0, 'too much'\nreturn b",
    "assert in a branch": "if b > 0.0:\n    assert a < 1.0\nelse:\n    return a\nreturn b",
    "bare return": "if a > 1.0: return\nreturn a",
    "return None": "if a > 1.0: return None\nreturn a",
    "one of two is None": "return a if a > 1.0 else (None if b > 1.0 else b)",
    "falls off the end": "if a > 1.0:\n    return a\nelif b > 1.0:\n    return b",
    "falls off a loop": "for i in range(3):\n    if a > i: return float(i)",
    "nothing at all": "pass",
    "only a docstring": '"""What it does."""',
    "integers": "if a > 1.0: return 1\nreturn -1",
    "true or false": "return a > b",
    "mixed": "if a > 1.0: return a > b\nif b > 1.0: return 2\nreturn HOLD",
    "annotated": "limit: float = 1.0\nother: float\nother = a\nif other > limit: return -x\nreturn HOLD",
    "a function inside": "def twice(v):\n    if v > 1.0:\n        return v\n    return 2.0 * v\nreturn twice(a)",
    "a comprehension": "return max([v * x for v in (a, b) if v > 0.0] + [a])",
    "while": "n = 0.0\nwhile True:\n    n += 1.0\n    if n > a: return n\n    if n > 5.0: break\nreturn -n",
    "chained": "return 1.0 if 0.0 < a <= b else 0.0",
    "an argument is changed": "a = abs(a)\nreturn a * x",
    "an index too far": "v = [a, b]\nreturn v[int(x) + (1 if a > 1.0 else -1)]",
    "tuples": "low, high = min(a, b), max(a, b)\nreturn (low, high)[1] - low",
    "a text inside": "side = 'long' if a > b else 'short'\nif side == 'long': return 1.0\nreturn -1.0",
}
POINTS = [(a, b) for a in (-2.0, 0.0, 0.5, 1.0, 2.0, 3.5) for b in (-1.0, 0.0, 1.5)]


@pytest.mark.parametrize("body", ANSWERS.values(), ids=ANSWERS)
def test_compiled_answers_as_plain_python(body: str, decide_of: Callable[..., Binding]) -> None:
    bound = decide_of(body)
    compiled, plain = compile_decide(bound), bound.function
    assert compilable(bound).cacheable
    for a, b in POINTS:
        found = compiled(a, b, 2.0)
        assert type(found) is float
        assert found == answer(plain, a, b, 2.0), (a, b)


def test_the_text_answers_as_plain_python(decide_of: Callable[..., Binding]) -> None:
    for body in ANSWERS.values():
        bound = decide_of(body)
        space: dict[str, Any] = {}
        exec(text_of(bound), space)
        for a, b in POINTS:
            assert answer(space["decide"], a, b, 2.0) == answer(bound.function, a, b, 2.0)


def test_what_cannot_go_on_is_a_finite_number(decide_of: Callable[..., Binding]) -> None:
    assert len({HOLD, RAISED, MISSING}) == 3
    assert all(1e299 < value < math.inf for value in (HOLD, RAISED, MISSING))


number = st.floats(allow_nan=True, allow_infinity=True) | st.sampled_from([0.0, 1.0, 2.0, -2.0, 0.5])


@given(position=number, z=number, entry=number, equity=number, calm=st.booleans())
def test_nan_and_inf_go_the_same_way(position: float, z: float, entry: float, equity: float, calm: bool) -> None:
    compiled = compile_decide(bind(Fade, ["z"]))
    plain = answer(Fade.decide, position, z, entry, calm, 3, equity)
    assert compiled(position, z, entry, float(calm), 3.0, equity) == plain


def test_nan_and_inf_come_out(decide_of: Callable[..., Binding]) -> None:
    compiled = compile_decide(decide_of("return a * b"))
    assert math.isnan(compiled(math.nan, 1.0, 2.0))
    assert compiled(math.inf, 1.0, 2.0) == math.inf


@pytest.mark.parametrize("whole", ["int(a)", "round(a)", "math.floor(a)", "math.ceil(a)", "math.trunc(a)", "cut(a)"])
def test_whole_numbers_of_no_number_are_flagged(whole: str, decide_of: Callable[..., Binding]) -> None:
    bound = decide_of(f"return {whole} % 3 + int(b > 0.0)", "from math import floor\ndef cut(v): return floor(v)")
    compiled = compile_decide(bound)
    for a in (math.nan, math.inf, -math.inf, 2.5, -2.5, 7.0):
        assert compiled(a, 1.0, 2.0) == answer(bound.function, a, 1.0, 2.0)
    assert compiled(1e300, 1.0, 2.0) == RAISED


def test_an_index_beyond_an_array_is_flagged(decide_of: Callable[..., Binding]) -> None:
    bound = decide_of("return TABLE[int(a)]", "TABLE = np.array([1.0, 2.0, 3.0])")
    compiled = compile_decide(bound)
    for a in (-4.0, -3.0, 0.0, 2.0, 3.0, 1e6, math.nan):
        assert compiled(a, 1.0, 2.0) == answer(bound.function, a, 1.0, 2.0)


@needs_jit
def test_division_by_zero_is_numpys(decide_of: Callable[..., Binding]) -> None:
    compiled = compile_decide(decide_of("return a / b"))
    assert compiled(1.0, 0.0, 2.0) == math.inf
    assert math.isnan(compiled(0.0, 0.0, 2.0))


# ---- names from outside --------------------------------------------------------------------------

OUTSIDE = {
    "numbers": ("LIMIT = 1.5\nCOUNT = 2\nON = True", "return a * LIMIT + COUNT if ON else 0.0"),
    "numpy numbers": ("LIMIT = np.float64(1.5)\nCOUNT = np.int64(2)", "return a * LIMIT + COUNT"),
    "no number": ("NEVER = math.inf\nMISSED = np.nan", "return 0.0 if a < NEVER and MISSED != MISSED else 1.0"),
    "a tuple": ("LEVELS = (1, 2.5, (3.0, 4.0))", "return LEVELS[1] + LEVELS[2][0] if a > LEVELS[0] else b"),
    "a text": ("SIDE = '{long}'", "return a if SIDE == '{long}' else b"),
    "modules": ("import math as m\nimport numpy", "return m.sqrt(abs(a)) + numpy.sign(b) + math.pi + np.pi"),
    "parts of a module": ("", "return np.linalg.norm(np.array([a, b]))"),
    "from a module": ("from math import exp\nfrom numpy import sign as side", "return exp(-abs(a)) * side(b)"),
    "another module's": ("import backtest.strategy as seam", "return seam.HOLD if a > 1.0 else seam.ABSURD"),
    "a class's": ("class C:\n    LIMIT = 2.0", "return a * C.LIMIT"),
    "an enum's": ("import enum\nclass Side(enum.IntEnum):\n    LONG = 1", "return a * Side.LONG"),
    "a function": ("def twice(v):\n    return 2.0 * v", "return twice(a) + twice(b)"),
    "functions of functions": (
        "STEP = 3.0\ndef inner(v, w): return v * STEP - w\ndef outer(v: float) -> float:\n    'Doc.'\n"
        "    if v > 1.0:\n        return inner(v, w=v)\n    return np.sign(v)",
        "return outer(a) + inner(b, 1.0)",
    ),
    "itself": ("def down(n):\n    if n < 1.0:\n        return 0.0\n    return 1.0 + down(n - 1.0)", "return down(a)"),
    "a class's function": (
        "class C:\n    @staticmethod\n    def half(v):\n        return v / 2.0",
        "return C.half(a)",
    ),
    "a name of a builtin": ("def abs(v):\n    return v if v > 0.0 else 10.0 - v", "return abs(a) + max(a, b)"),
    "a builtin elsewhere": (
        "def max(v, w):\n    return v + w\ndef f(v):\n    return max(v, 1.0)",
        "return f(a)",
    ),
    "called like the loop": ("numba = 3.0\ndef quiet(v):\n    return 2.0 * v", "return quiet(a) + numba"),
    "called decide": ("def decide(v):\n    return v + 1.0", "return decide(a)"),
    "a lambda": ("half = lambda v: v / 2.0", "return half(a)"),
    "defaults": ("def scaled(v, by=3.0):\n    return v * by", "return scaled(a) + scaled(b, by=2.0)"),
    "numba's own": ("import numba\n@numba.njit\ndef twice(v):\n    return 2.0 * v", "return twice(a)"),
    "an array": ("TABLE = np.array([1.0, 2.0, 3.0])", "return TABLE[1] * a + len(TABLE)"),
    "a raise elsewhere": ("def f(v):\n    if v > 1.0: raise ValueError('no')\n    return v", "return f(a)"),
    "an assert elsewhere": ("def f(v):\n    assert v < 1.0\n    return v", "return f(a)"),
    "None elsewhere": ("def f(v):\n    if v > 1.0:\n        return v", "return f(a) + 1.0"),
}
KEPT = {"a lambda", "defaults", "numba's own", "an array"}  # no text can stand for these


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_from_outside(name: str, decide_of: Callable[..., Binding]) -> None:
    above, body = OUTSIDE[name]
    bound = decide_of(body, above)
    source = compilable(bound)
    assert source.cacheable == (name not in KEPT)
    compiled = compile_decide(bound, source)
    for a, b in POINTS:
        assert compiled(a, b, 2.0) == pytest.approx(answer(bound.function, a, b, 2.0), rel=1e-15), (a, b)


def test_names_of_the_loop_around_are_left_to_it(decide_of: Callable[..., Binding]) -> None:
    above, body = OUTSIDE["called like the loop"]
    space: dict[str, Any] = {}
    exec(text_of(decide_of(body, above)), space)
    assert not {"numba", "quiet"} & set(space)


def test_a_class_in_a_function_sees_what_is_around_it() -> None:
    limit = 1.5

    def above(v: float) -> bool:
        return v > limit

    class Idea(Strategy):
        @staticmethod
        def decide(a):
            return -limit if above(a) else HOLD

    bound = bind(Idea, ["a"])
    source = compilable(bound)
    assert source.cacheable
    assert compile_decide(bound)(2.0) == -1.5
    limit = 3.0
    assert compile_decide(bound)(2.0) == HOLD


def test_same_names_of_two_modules_stay_apart(module: Callable[..., ModuleType], monkeypatch: Any) -> None:
    for name, limit in (("one", 1.0), ("two", 2.0)):
        text = f"LIMIT = {limit}\nlocal = 5.0\ndef scale(v):\n    return v * LIMIT + local\n"
        monkeypatch.setitem(sys.modules, name, module(text, name))
    ideas = module(
        HEAD
        + """
import one, two
LIMIT = 7.0
class Idea(Strategy):
    @staticmethod
    def decide(a):
        local = 1.0
        one_LIMIT = 100.0
        return one.scale(a) + 10.0 * two.scale(a) + LIMIT * local + one.LIMIT * one_LIMIT
"""
    )
    bound = bind(ideas.Idea, ["a"])
    assert compile_decide(bound)(3.0) == ideas.Idea.decide(3.0)


def test_a_function_called_like_a_variable_is_refused(decide_of: Callable[..., Binding]) -> None:
    above = "def f(v): return v\ndef g(v): return f(v)\nclass C: f = staticmethod(f)\n"
    with pytest.raises(BadInput, match=r"`f` is a variable here and a function in C\.f"):
        compilable(decide_of("y = g(a)\nf = 1.0\nreturn C.f(a) + f + y", above))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return limits", "`limits` is not defined: did you mean LIMIT?"),
        ("return drawdown", "`drawdown` is not defined: name it as an argument of decide"),
        ("return xylophone", "`xylophone` is not defined"),
        ("return math.sqrtt(a)", "`math` has no sqrtt: did you mean sqrt?"),
        ("return a + Idea.x", "`Idea.x` is only the default: name x as an argument of decide"),
        ("return np.linalg", "`np.linalg` is a module"),
        ("return np.random.normal()", "draw random numbers in features()"),
        ("return gauss(0.0, 1.0)", "draw random numbers in features()"),
        ("return random.random()", "draw random numbers in features()"),
    ],
)
def test_names_that_lead_nowhere(body: str, message: str, decide_of: Callable[..., Binding]) -> None:
    with pytest.raises(BadInput) as refused:
        compilable(decide_of(body, "import random\nfrom random import gauss\nLIMIT = 1.0"))
    assert message in str(refused.value)
    assert str(refused.value).startswith(f"ideas.py:{_line_of(body)}: `{body}`\nIdea.decide")


def _line_of(text: str) -> int:
    lines = linecache.getlines(_newest_ideas())
    return next(i for i, line in enumerate(lines, 1) if text in line)


def _newest_ideas() -> str:
    files = [f for f in linecache.cache if f.endswith("ideas.py") and Path(f).exists()]
    return max(files, key=lambda f: Path(f).stat().st_mtime_ns)


# ---- keys and caches -----------------------------------------------------------------------------


def key_of(binding: Binding) -> str:
    return compilable(binding).key


def test_the_key_changes_with_whatever_changes_the_code(decide_of: Callable[..., Binding]) -> None:
    first = key_of(decide_of("return LIMIT * a", "LIMIT = 1.0"))
    assert key_of(decide_of("return LIMIT * a  # moved", "# a comment\n\nLIMIT = 1.0")) == first
    others = [
        decide_of("return LIMIT * a", "LIMIT = 1"),
        decide_of("return LIMIT * a", "LIMIT = 2.0"),
        decide_of("return a * LIMIT", "LIMIT = 1.0"),
        decide_of("return LIMIT * a", "LIMIT = 1.0", arguments="b, a, x"),
        decide_of("return LIMIT * a", "LIMIT = 1.0", arguments="a, x, b"),
        decide_of("return LIMIT * a", "LIMIT = np.array(1.0)"),
    ]
    assert len({first, *map(key_of, others)}) == 7


def test_a_function_elsewhere_is_part_of_the_key(decide_of: Callable[..., Binding]) -> None:
    one, two = (key_of(decide_of("return f(a)", f"def f(v): return v + {n}")) for n in (1, 2))
    assert one != two


def test_the_same_text_is_compiled_once(decide_of: Callable[..., Binding]) -> None:
    one, two = (compile_decide(decide_of("return a + 4321.0")) for _ in range(2))
    assert one is two


def test_arrays_are_taken_as_they_are_now(decide_of: Callable[..., Binding]) -> None:
    bound = decide_of("return a * TABLE[0]", "TABLE = np.array([1.0])")
    assert compile_decide(bound)(1.0, 0.0, 0.0) == 1.0
    before = key_of(bound)
    bound.function.__globals__["TABLE"][0] = 5.0
    assert compile_decide(bound)(1.0, 0.0, 0.0) == 5.0
    assert key_of(bound) != before


def test_cacheable_text_needs_nothing_else(decide_of: Callable[..., Binding], tmp_path: Path) -> None:
    above, body = OUTSIDE["functions of functions"]
    bound = decide_of(body, above)
    (tmp_path / "alone.py").write_text(text_of(bound))
    code = "import alone; print(repr(alone.decide(2.5, -1.0, 2.0)), 'backtest' in __import__('sys').modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [repr(bound.function(2.5, -1.0, 2.0)), "False"]


# ---- lines ---------------------------------------------------------------------------------------

LINES = '''"""A file."""

from backtest.strategy import HOLD, Strategy


def scaled(v):
    """Doc."""

    return v * 2.0


class Idea(Strategy):
    x: float = 2.0

    @staticmethod
    def decide(
        a,
        x,
    ):
        """Doc."""
        # a comment
        y = (
            scaled(a)
            + 1.0
        )
        if y > x: return 1.0

        elif y < -x:
            assert (
                a > 0
            )
        return HOLD
'''


def test_each_line_of_the_text_knows_its_own(module: Callable[..., ModuleType]) -> None:
    bound = bind(module(LINES).Idea, ["a"])
    source = compilable(bound)
    starts = {
        "return v * 2.0": 9,
        "y = scaled(a) + 1.0": 22,
        "if y > x:": 26,
        "return 1.0": 26,
        "elif y < -x:": 28,
        "return 2e+300": 29,
        "return HOLD": 32,
    }
    lines = source.text.splitlines()
    assert len(lines) == len(source.lines)
    for text, line in starts.items():
        number = next(i for i, have in enumerate(lines, 1) if have.strip() == text)
        assert source.where(number) == (bound.function.__code__.co_filename, line), text
    assert source.where(10_000) == source.lines[-1]


def test_the_function_stands_on_the_users_lines(module: Callable[..., ModuleType]) -> None:
    bound = bind(module(LINES).Idea, ["a"])
    source = compilable(bound)
    inner = source.function().__globals__["_decide"]
    code = getattr(inner, "py_func", inner).__code__
    assert code.co_filename == bound.function.__code__.co_filename
    assert {n for _, _, n in code.co_lines() if n} >= {22, 26, 28, 29, 32}


# ---- what is refused before compiling ------------------------------------------------------------

REFUSED = {
    "try:\n    return a / b\nexcept ZeroDivisionError:\n    return 0.0": "it cannot catch exceptions",
    "with open('x') as f:\n    return a": "it cannot use `with`",
    "import os\nreturn a": "it cannot import",
    "from os import path\nreturn a": "it cannot import",
    "global COUNT\nCOUNT = a\nreturn a": "it cannot change a global",
    "yield a": "it cannot yield",
    "class C: pass\nreturn a": "it cannot define a class",
    "del a\nreturn b": "it cannot delete",
    "return max(v for v in (a, b))": "it cannot use a generator",
    "if (y := a) > 1.0: return y\nreturn b": "it cannot use `:=`",
    "match int(a):\n    case 1: return b\nreturn a": "it cannot use `match`",
    "for i in range(3):\n    a += 1.0\nelse:\n    a = 0.0\nreturn a": "it cannot use `else` after a loop",
}


@pytest.mark.parametrize("body", REFUSED)
def test_statements_without_a_meaning_here(body: str, decide_of: Callable[..., Binding]) -> None:
    with pytest.raises(BadInput) as refused:
        compile_decide(decide_of(body, "COUNT = 0.0"))
    assert f"\nIdea.decide: {REFUSED[body]}" in str(refused.value)
    assert str(refused.value).startswith("ideas.py:")
    assert str(refused.value).count("\n") == 1


UNASSIGNED = [
    "if a > 1.0:\n    y = 1.0\nreturn y",
    "if a > 1.0:\n    y = 1.0\nelif b > 1.0:\n    y = 2.0\nreturn y",
    "for i in range(int(a)):\n    y = 1.0\nreturn y",
    "for i in range(int(a)):\n    pass\nreturn i",
    "while a > 1.0:\n    y = a\n    a -= 1.0\nreturn y",
    "y += 1.0\nreturn y",
    "y: float\nreturn y",
    "if a > 1.0 and y > 1.0:\n    return 1.0\ny = 2.0\nreturn y",
    "while True:\n    if a > 1.0:\n        break\n    y = 1.0\n    if b > 0.0:\n        break\nreturn y",
    "def f(v):\n    if v > 1.0:\n        w = 1.0\n    return w\nreturn f(a)",
    "for i in range(3):\n    if i > 0:\n        a += y\n    y = a\nreturn a",
]


@pytest.mark.parametrize("body", UNASSIGNED)
def test_a_variable_that_may_have_no_value_is_refused(body: str, decide_of: Callable[..., Binding]) -> None:
    with pytest.raises(BadInput, match=r"`[yiw]` has no value on some path to here: give [yiw] a value before"):
        compilable(decide_of(body))


def test_also_in_a_function_that_is_called(decide_of: Callable[..., Binding]) -> None:
    with pytest.raises(BadInput, match=r"Idea.decide, in f: `w` has no value on some path"):
        compilable(decide_of("return f(a)", "def f(v):\n    if v > 1.0:\n        w = 1.0\n    return w"))


ASSIGNED = [
    "if a > 1.0:\n    y = 1.0\nelse:\n    y = 2.0\nreturn y",
    "if a > 1.0:\n    y = 1.0\nelse:\n    return 0.0\nreturn y",
    "if a > 1.0:\n    y = 1.0\nelse:\n    raise ValueError\nreturn y",
    "while True:\n    y = a\n    if y > -9.0:\n        break\nreturn y",
    "y = 0.0\nfor i in range(3):\n    y += i\nreturn y",
    "t = 0.0\nfor i in range(3):\n    w = t + i\n    if w > 1.0:\n        continue\n    t = w\nreturn t",
    "return max([v + a for v in (a, b)])",
    "f = lambda v: v + 1.0\nreturn f(a)",
    "if a > 1.0:\n    return 1.0\n    y = 3.0\nreturn 2.0",
]


@pytest.mark.parametrize("body", ASSIGNED)
def test_a_variable_with_a_value_on_every_path_is_not(body: str, decide_of: Callable[..., Binding]) -> None:
    bound = decide_of(body)
    compiled = compile_decide(bound)
    for a, b in POINTS:
        assert compiled(a, b, 2.0) == answer(bound.function, a, b, 2.0)


# ---- what numba refuses --------------------------------------------------------------------------

FAILS = {
    "return a + 'x'": "`+` does not go with a number and a text",
    "y = 1.0\nif a > 1.0:\n    y = 'x'\nreturn y": "is a number on one path and a text on another",
    "return TABLE['a']": "`TABLE` is a dict; decide can use numbers",
    "return thing.x": "`thing` is a Thing; decide can use numbers",
    "return time.time()": "`time.time` is a function that is not plain Python",
    "return a.mean()": "a number has no `.mean` there",
    "return a[-1]": "a number has no [...]: decide sees one bar; what it needs of earlier ones is a feature",
    "return min(a, b, key=abs)": "min() does not take a number, a number, key=a function",
    "return math.sqrt(a, b)": "sqrt() does not take a number, a number",
    "y = f'{a:.2f}'\nreturn 1.0": "format spec in f-strings not supported",
    "return joined(a)": "`+` does not go with a number and a text",
    "a = 3\nreturn a(b)": "cannot be called",
    "return a, b": "returns a tuple: every path must return a number or HOLD",
    "return 'long'": "returns a text: every path must return a number or HOLD",
    "if a > 1.0:\n    return 'long'\nreturn 1.0": "returns a text: every path must return a number or HOLD",
    "return a * 1j": "returns a complex number: every path",
    "return np.where(a > b, 1.0, 0.0)": "returns an array: every path",
    "y = None\nif a > 1.0:\n    y = 1.0\nreturn y": "returns a number on one path and None on another: every path",
}
FAILS_ABOVE = """
import time
TABLE = {"a": 1.0}
class Thing:
    def __init__(self): self.x = 1.0
thing = Thing()
def joined(v):
    return v + "abc"
"""


@needs_jit
@pytest.mark.parametrize("body", FAILS)
def test_what_numba_refuses_is_said_in_words(body: str, decide_of: Callable[..., Binding]) -> None:
    with pytest.raises(BadInput) as refused:
        compile_decide(decide_of(body, FAILS_ABOVE))
    place, problem = str(refused.value).split("\n")
    assert FAILS[body] in problem
    assert problem.startswith("Idea.decide ")
    assert place.startswith("ideas.py:")
    line = place.partition(": `")[2].rstrip("`")
    assert line in body or line in FAILS_ABOVE or line == "def decide(a, b, x):"
    assert refused.value.__cause__ is None
    assert refused.value.__context__ is None or refused.value.__suppress_context__


@needs_jit
def test_the_line_is_the_one_that_fails(decide_of: Callable[..., Binding]) -> None:
    with pytest.raises(BadInput, match='`return v \\+ "abc"`'):
        compile_decide(decide_of("y = 1.0\nreturn joined(a)", FAILS_ABOVE))
    with pytest.raises(BadInput, match="`y = a \\+ 'x'`"):
        compile_decide(decide_of("z = a\ny = a + 'x'\nreturn 1.0"))


# ---- explaining ----------------------------------------------------------------------------------

EXPLAINED = {
    "raise ValueError('too much')": "raised ValueError: too much (ideas.py:LINE: `raise ValueError('too much')`)",
    "raise KeyError": "raised KeyError (ideas.py:",
    "assert a > 5.0, 'low'": "raised AssertionError: low (ideas.py:LINE: `assert a > 5.0, 'low'`)",
    "return math.sqrt(-a)": "raised ValueError: math domain error (ideas.py:LINE: `return math.sqrt(-a)`)",
    "return a / (b + 1.0)": "returned inf",
    "return helped(a)": "raised ValueError: not here (ideas.py:6: `if v > 0.0: raise ValueError('not here')`)",
    "pass": "returned None: every path of decide must return a number or HOLD",
    "if a > 5.0: return 1.0": "returned None: every path",
    "return np.sqrt(-a)": "returned nan",
    "return a * math.nan": "returned nan",
    "return a * math.inf": "returned inf",
    "return -a * math.inf": "returned -inf",
    "return 3e8 * a": "returned 300000000.0: a target is a multiple of equity",
    "return -HOLD": "returned -1e+300: a target is a multiple of equity",
    "return (-a) ** 0.5": "returned nan",
    "return a + 1j": "complex: every path",
    "return (a, b)": "returned (1.0, -1.0), tuple: every path",
}


HELPED = "def helped(v):\n    if v > 0.0: raise ValueError('not here')\n    return v"


@pytest.mark.parametrize("body", EXPLAINED)
def test_why_there_is_no_target(body: str, decide_of: Callable[..., Binding]) -> None:
    bound = decide_of(body, HELPED)
    error = explain(bound, {"a": 1.0, "b": -1.0, "x": 2.0}, "2024-03-01 08:00", math.nan)
    said = (
        EXPLAINED[body].replace("LINE", str(_line_of(body)) if "LINE" in EXPLAINED[body] else "").replace("nan", "NaN")
    )
    first, second = str(error).split("\n")
    assert first.startswith(f"Idea.decide at 2024-03-01 08:00 {said}" if "complex" not in said else "Idea.decide")
    assert said in first
    assert second == "with a=1.0, b=-1.0, x=2.0"


def test_nan_features_are_named(decide_of: Callable[..., Binding]) -> None:
    error = explain(decide_of("return a + b"), {"a": math.nan, "b": 1.0, "x": 2.0}, "bar 0", math.nan)
    assert "returned NaN (a is NaN: declare a warmup, or return HOLD while it is NaN)" in str(error)


def test_parameters_keep_their_type_when_it_is_run_again(module: Callable[..., ModuleType]) -> None:
    text = """
    from backtest.strategy import Strategy
    class Idea(Strategy):
        n: int = 3
        on: bool = True
        @staticmethod
        def decide(n, on, z):
            total = 0.0
            for i in range(n):
                total += z
            assert on is True
            return total
    """
    error = explain(bind(module(text).Idea, ["z"]), {"n": 3.0, "on": 1.0, "z": np.float64(math.inf)}, "bar 7", math.inf)
    assert str(error) == "Idea.decide at bar 7 returned inf\nwith n=3, on=True, z=inf"


def test_a_difference_between_compiled_and_plain_is_owned_up_to(decide_of: Callable[..., Binding]) -> None:
    given = {"a": 1.0, "b": 1.0, "x": 2.0}
    assert "raised an exception when compiled, but returned 1.0" in str(
        explain(decide_of("return a"), given, "", RAISED)
    )
    assert "returned None when compiled" in str(explain(decide_of("return a"), given, "", MISSING))
    assert "returned nan when compiled" in str(explain(decide_of("return a"), given, "", math.nan))


@pytest.mark.parametrize("body", [b for b in EXPLAINED if "j" not in b and b not in ("return (a, b)",)])
def test_what_is_explained_is_what_the_compiled_one_flags(body: str, decide_of: Callable[..., Binding]) -> None:
    outcome = compile_decide(decide_of(body, HELPED))(1.0, -1.0, 2.0)
    assert math.isnan(outcome) or abs(outcome) > 1e6


# ---- where the source comes from -----------------------------------------------------------------


def without_source(body: str, **around: Any) -> Binding:
    space = {"HOLD": HOLD} | around
    exec(f"def decide(a):\n{textwrap.indent(body, '    ')}", space)
    return bind(type("Idea", (Strategy,), {"decide": staticmethod(space["decide"])}), ["a"])


@pytest.mark.parametrize(
    "body",
    [
        "if a > 1.0: raise ValueError('no')\nreturn a",
        "assert a < 1.0\nreturn a",
        "if a > 1.0: return a",
        "if a > 1.0: return None\nreturn a",
        "return a > 1.0",
        "return 3",
        "return HOLD",
        "return TABLE[int(a)]",
    ],
)
def test_without_source_the_function_itself_is_compiled(body: str) -> None:
    bound = without_source(body, TABLE=np.array([1.0, 2.0]))
    source, compiled = compilable(bound), compile_decide(bound)
    assert bound.written is None
    assert not source.cacheable
    for a in (0.0, 0.5, 1.5, 7.0):
        assert compiled(a) == answer(bound.function, a)
    assert str(explain(bound, {"a": 2.0}, "bar 3", math.nan)).startswith("Idea.decide at bar 3 ")


@needs_jit
def test_without_source_there_is_still_a_line() -> None:
    bound = without_source("y = a\nif a > 1.0:\n    raise ValueError('no')\nreturn a + 'x'")
    assert "raised ValueError: no (<string>:4)" in str(explain(bound, {"a": 2.0}, "bar 3", RAISED))
    with pytest.raises(BadInput, match=r"^<string>:5\nIdea.decide cannot be compiled: `\+` does not go with"):
        compile_decide(bound)


@needs_jit
@pytest.mark.parametrize("body", ["pass", "return 'long'", "return (a, a)", "if a > 1.0: return 'long'"])
def test_without_source_no_number_is_refused(body: str) -> None:
    with pytest.raises(BadInput, match=r"^<string>:\d\nIdea.decide returns .*: every path must return"):
        compile_decide(without_source(body))


def test_without_source_what_is_around_counts() -> None:
    bound = without_source("return a * LIMIT + f(a)", LIMIT=2.0, f=numba.njit(lambda v: 1.0))
    assert compile_decide(bound)(3.0) == 7.0
    assert compile_decide(bound) is compile_decide(bound)
    bound.function.__globals__["LIMIT"] = 5.0
    assert compile_decide(bound)(3.0) == 16.0


def test_a_lambda_will_do() -> None:
    class Idea(Strategy):
        decide = staticmethod(lambda a: -a)

    assert compile_decide(bind(Idea, ["a"]))(2.0) == -2.0


def test_source_that_linecache_knows() -> None:
    text = "def decide(a):\n    if a > 1.0:\n        raise ValueError('no')\n    return a\n"
    linecache.cache["<made up>"] = (len(text), None, text.splitlines(keepends=True), "<made up>")
    space: dict[str, Any] = {}
    exec(compile(text, "<made up>", "exec"), space)

    class Idea(Strategy):
        decide = staticmethod(space["decide"])

    bound = bind(Idea, ["a"])
    assert compile_decide(bound)(2.0) == RAISED
    assert "(<made up>:3: `raise ValueError('no')`)" in str(explain(bound, {"a": 2.0}, "bar 3", RAISED))


def test_the_source_is_that_of_the_import(module: Callable[..., ModuleType], tmp_path: Path) -> None:
    text = HEAD + "class Idea(Strategy):\n    @staticmethod\n    def decide(a):\n        return a + {}\n"
    one = module(text.format(1.0))
    (tmp_path / "ideas.py").write_text("# edited\n" + text.format(22.0))
    assert compile_decide(bind(one.Idea, ["a"]))(0.0) == 1.0
    two = module("# edited\n" + text.format(22.0))
    assert compile_decide(bind(two.Idea, ["a"]))(0.0) == 22.0
    assert compile_decide(bind(one.Idea, ["a"]))(0.0) == 1.0


def test_a_function_whose_file_has_changed_is_taken_as_it_was(
    module: Callable[..., ModuleType], tmp_path: Path
) -> None:
    text = HEAD + (
        "def f(v):\n    return v + 1.0\n"
        "class Idea(Strategy):\n    @staticmethod\n    def decide(a):\n        return f(a)\n"
    )
    made = module(text)
    (tmp_path / "ideas.py").write_text(text.replace("v + 1.0", "v + 50.0"))
    bound = bind(made.Idea, ["a"])
    source = compilable(bound)
    assert not source.cacheable
    assert compile_decide(bound)(0.0) == 1.0


def test_text_that_is_not_the_functions_own_is_no_source(module: Callable[..., ModuleType]) -> None:
    made = module("def f(v):\n    return v + 1.0\ndef g(v):\n    return v + 2.0\n")
    assert node(made.f, written(made.f)) is not None
    assert node(made.f, written(made.g)) is None
    made.g.__name__ = "f"
    assert node(made.g, written(made.f)) is None


def test_a_function_is_found_anywhere_in_its_file(module: Callable[..., ModuleType]) -> None:
    made = module(
        "# a file\nclass C:\n    @staticmethod\n    def f(v):\n        return v + 1.0\ndef f(v):\n    return v\n"
    )
    for function, line in ((made.C.f, 3), (made.f, 6)):
        function.__code__ = function.__code__.replace(co_firstlineno=1)
        source = found(function, None)
        assert source is not None
        assert (source[1].line, source[0].name) == (line, "f")


def test_a_class_may_travel_to_another_process(tmp_path: Path) -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    space: dict[str, Any] = {"__name__": "__main__", "HOLD": HOLD, "Strategy": Strategy}
    text = (
        "class Idea(Strategy):\n    x: float = 2.0\n    @staticmethod\n    def decide(a, x):\n"
        "        if a > x:\n            raise ValueError('no')\n        return HOLD\n"
    )
    linecache.cache["<cell 1>"] = (len(text), None, text.splitlines(keepends=True), "<cell 1>")
    exec(compile(text, "<cell 1>", "exec"), space)
    (tmp_path / "sent").write_bytes(cloudpickle.dumps(space["Idea"](x=1.0)))
    code = (
        "import pickle; from backtest.decide import bind, compile_decide\n"
        "idea = pickle.load(open('sent', 'rb')); print(idea, idea.replace(x=3))\n"
        "print(compile_decide(bind(idea, ['a']))(2.0, 1.0))"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == ["Idea(x=1.0) Idea(x=3.0)", "2e+300"], done.stderr


def test_a_binding_and_its_source_can_be_sent() -> None:
    source = compilable(bind(Fade, ["z"]))
    again = pickle.loads(pickle.dumps(source))
    assert (again.text, again.key, again.lines) == (source.text, source.key, source.lines)


# ---- notebooks -----------------------------------------------------------------------------------

CELLS = [
    "from backtest.decide import bind, compilable, compile_decide, explain\n"
    "from backtest.strategy import HOLD, Strategy\nLIMIT = 1.0\ndef scaled(v): return v * LIMIT",
    "class Idea(Strategy):\n    @staticmethod\n    def decide(a):\n        if scaled(a) > LIMIT:\n"
    "            raise ValueError('too much')\n        return HOLD",
    "compile_decide(bind(Idea, ['a']))(2.0), compilable(bind(Idea, ['a'])).cacheable",
    "print(explain(bind(Idea, ['a']), {'a': 2.0}, 'bar 3', 2e300))",
    "class Idea(Strategy):\n    @staticmethod\n    def decide(a):\n        return scaled(a) + 1.0",
    "compile_decide(bind(Idea, ['a']))(2.0)",
    "LIMIT = 5.0",
    "compile_decide(bind(Idea, ['a']))(2.0)",
    "class Idea(Strategy):\n    @staticmethod\n    def decide(a):\n        return a + 'x'",
    "try: compile_decide(bind(Idea, ['a']))\nexcept Exception as error: print(error)",
]
PLACE = "Cell In[{}]:{}: `{}`"


def expected_in_cells() -> dict[int, str]:
    raising, adding = PLACE.format(2, 5, "raise ValueError('too much')"), PLACE.format(9, 4, "return a + 'x'")
    failed = "Idea.decide cannot be compiled: `+` does not go with a number and a text"
    return {
        3: f"({RAISED!r}, True)",
        4: f"Idea.decide at bar 3 raised ValueError: too much ({raising})\nwith a=2.0",
        6: "3.0",
        8: "11.0",
        10: f"{adding}\n{failed}",
    }


@needs_jit
def test_classes_typed_in_ipython(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    code = f"""
from IPython.core.interactiveshell import InteractiveShell
shell = InteractiveShell.instance()
for cell in {CELLS!r}:
    print("--", flush=True)
    shell.run_cell(cell, store_history=True).raise_error()
"""
    environment = os.environ | {"IPYTHONDIR": str(tmp_path), "NO_COLOR": "1"}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    parts = [part.strip() for part in done.stdout.split("--\n")[1:]]
    for number, text in expected_in_cells().items():
        assert text in parts[number - 1], number


RELOADED = """
import os, pathlib, sys
sys.path.insert(0, os.getcwd())
from IPython.core.interactiveshell import InteractiveShell
file = pathlib.Path("reloaded.py")
text = "from backtest.strategy import Strategy\\nclass Idea(Strategy):\\n    x: float = {x}\\n{more}"
text += "    @staticmethod\\n    def decide(a, x):\\n        if a > x: raise ValueError\\n        return a + {x}\\n"
file.write_text(text.format(x=1.0, more=""))
shell = InteractiveShell.instance()
def run(cell): shell.run_cell(cell).raise_error()
run("%load_ext autoreload\\n%autoreload 2\\nfrom reloaded import Idea\\nfrom backtest.decide import *\\nidea = Idea()")
ask = "decide = compile_decide(bind(idea, ['a'])); print(Idea(), idea, decide(0.0, 1.0), decide(30.0, 1.0))"
run(ask)
file.write_text("# moved\\n\\n" + text.format(x=22.0, more="    y: int = 3\\n"))
os.utime(file, (2e9, 2e9))
run(ask)
"""


@needs_jit
def test_a_file_that_autoreload_reads_again(tmp_path: Path) -> None:
    pytest.importorskip("IPython")
    environment = os.environ | {"IPYTHONDIR": str(tmp_path), "NO_COLOR": "1"}
    command = [sys.executable, "-c", RELOADED]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.splitlines() == [
        "Idea(x=1.0) Idea(x=1.0) 1.0 2e+300",
        "Idea(x=22.0, y=3) Idea(x=1.0, y=3) 22.0 2e+300",
    ], done.stderr[-2000:]


@needs_jit
@pytest.mark.slow
def test_classes_typed_in_a_notebook(tmp_path: Path) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    (tmp_path / "cells.ipynb").write_text(nbformat.writes(notebook))
    code = "import nbformat, nbclient; n = nbformat.read('cells.ipynb', 4); nbclient.NotebookClient(n).execute()"
    environment = os.environ | {"JUPYTER_CONFIG_DIR": str(tmp_path), "IPYTHONDIR": str(tmp_path)}
    command = [sys.executable, "-c", f"{code}; nbformat.write(n, 'done.ipynb')"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    del nbclient
    cells = nbformat.read(tmp_path / "done.ipynb", 4).cells
    for number, text in expected_in_cells().items():
        outputs = [o.get("text") or o["data"]["text/plain"] for o in cells[number - 1].outputs]
        assert text in "".join(outputs), number
