"""backtest.strategy, features and strategy_lookup: what a strategy is, what it says of a market, how it is found."""

from __future__ import annotations

import importlib.metadata
import math
import os
import pickle
import re
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pandas as pd
import polars as pl
import pytest

from backtest.features import Leak, features_of, lookahead, reserved_of
from backtest.strategy import RESERVED, STATE, Strategy, warmup_bars
from backtest.strategy_lookup import available, load
from data.errors import BadInput, NotFound
from data.market import Market

ROOT = Path(__file__).resolve().parents[1]


class Fade(Strategy):
    window: str = "3d"
    entry_z: float = 2.0
    bars: int = 20
    calm: bool = True
    side: str = "both"
    LIMIT: ClassVar[float] = 9.0
    note = "not a parameter"

    def features(self, market):
        return {"z": market.close * self.entry_z, "far": market.close > self.bars}

    @staticmethod
    def decide(position, z, entry_z):
        return -1.0 if z > entry_z else 1e300


def made_up(n: int = 100, symbols: int = 1, interval: str = "1h") -> Market:
    rng = np.random.default_rng(n + symbols)
    index = pd.date_range("2024-01-01", periods=n, freq=interval.replace("m", "min"), unit="ns")
    frames = []
    for j in range(symbols):
        close = 100.0 + rng.normal(0, 1, n).cumsum()
        columns = {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 5.0}
        frames.append(pd.DataFrame({"ts": index, "symbol": f"S{j}/USDT:USDT"} | columns))
    return Market.from_frames(pd.concat(frames) if symbols > 1 else frames[0].drop(columns="symbol"))


@pytest.fixture(scope="module")
def market() -> Market:
    return made_up()


@pytest.fixture(scope="module")
def pair() -> Market:
    return made_up(symbols=2)


# ---- parameters ----------------------------------------------------------------------------------


def test_parameters_are_declared_in_order() -> None:
    assert list(Fade.declared()) == ["window", "entry_z", "bars", "calm", "side"]
    assert Fade().parameters == {"window": "3d", "entry_z": 2.0, "bars": 20, "calm": True, "side": "both"}
    assert Fade.entry_z == 2.0
    assert Fade().note == "not a parameter"
    assert repr(Fade(calm=False)) == "Fade(window='3d', entry_z=2.0, bars=20, calm=False, side='both')"


@pytest.mark.parametrize(
    ("name", "value", "made"),
    [
        ("entry_z", 3, 3.0),
        ("entry_z", np.float32(0.5), 0.5),
        ("entry_z", math.inf, math.inf),
        ("bars", np.int64(7), 7),
        ("bars", 7.0, 7),
        ("bars", 2**60 + 1, 2**60 + 1),
        ("calm", np.bool_(False), False),
        ("window", "12h", "12h"),
        ("side", np.str_("long"), "long"),
    ],
)
def test_values_become_the_declared_type(name: str, value: object, made: object) -> None:
    found = Fade(**{name: value}).parameters[name]
    assert found == made
    assert type(found) is type(made)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"entry": 1.0}, "Fade has no parameter entry: did you mean entry_z?"),
        ({"entry_z": "2"}, "Fade: entry_z='2': write a number"),
        ({"entry_z": math.nan}, "Fade: entry_z=nan: write a number"),
        ({"entry_z": True}, "Fade: entry_z=True: write a number"),
        ({"entry_z": None}, "Fade: entry_z=None: write a number"),
        ({"bars": 2.5}, "Fade: bars=2.5: write a whole number"),
        ({"bars": math.inf}, "Fade: bars=inf: write a whole number"),
        ({"bars": True}, "Fade: bars=True: write a whole number"),
        ({"calm": 1}, "Fade: calm=1: write True or False"),
        ({"window": 3}, "Fade: window=3: write a text"),
        ({"window": "three days"}, "Fade: window='three days' is no duration: write 4h, 3d or 2w"),
        ({"note": 1.0}, "Fade.note has no type, so it is no parameter: write note: str = 'not a parameter'"),
    ],
)
def test_wrong_parameters_are_refused_in_one_line(given: dict[str, Any], message: str) -> None:
    for build in (lambda: Fade(**given), lambda: Fade().replace(**given)):
        with pytest.raises(BadInput) as refused:
            build()
        assert str(refused.value) == message


def test_parameters_are_named() -> None:
    with pytest.raises(BadInput, match=re.escape("Fade: name the parameters: Fade(window=2.0)")):
        Fade(2.0)


def test_a_strategy_is_a_value() -> None:
    one, two = Fade(entry_z=3), Fade(entry_z=3.0)
    assert one == two
    assert hash(one) == hash(two)
    assert one != Fade()
    assert {one: "same"}[two] == "same"
    assert one.replace(bars=5).parameters == one.parameters | {"bars": 5}
    assert one.bars == 20
    assert pickle.loads(pickle.dumps(one)) == one


def test_another_class_with_the_same_parameters_is_another_strategy() -> None:
    class Other(Fade):
        pass

    assert Other() != Fade()
    assert Other().parameters == Fade().parameters


@pytest.mark.parametrize("name", ["entry_z", "anything"])
def test_a_strategy_cannot_be_changed(name: str) -> None:
    strategy = Fade()
    with pytest.raises(AttributeError, match="a strategy cannot be changed"):
        setattr(strategy, name, 1.0)
    with pytest.raises(AttributeError, match="a strategy cannot be changed"):
        delattr(strategy, name)
    assert strategy == Fade()


def test_nor_can_a_parameter_of_its_class() -> None:
    with pytest.raises(AttributeError, match=re.escape("Fade.entry_z is a parameter: write Fade(entry_z=3.0), or a")):
        Fade.entry_z = 3.0
    assert Fade().entry_z == 2.0


def test_a_strategy_may_have_other_bases() -> None:
    import abc

    class Both(Fade, abc.ABC):
        x: float = 1.0

    assert Both().parameters == Fade().parameters | {"x": 1.0}


def test_a_subclass_adds_parameters_and_changes_defaults() -> None:
    class Slow(Fade):
        entry_z = 3
        pause: int = 5

    assert Slow().parameters == Fade().parameters | {"entry_z": 3.0, "pause": 5}
    assert list(Slow.declared()) == [*Fade.declared(), "pause"]
    assert Fade.entry_z == 2.0
    with pytest.raises(BadInput, match=r"Wrong: entry_z='x': write a number"):
        type("Wrong", (Fade,), {"entry_z": "x"})


def test_annotations_may_be_texts() -> None:
    space: dict[str, Any] = {"Strategy": Strategy, "ClassVar": ClassVar}
    code = "from __future__ import annotations\nclass Late(Strategy):\n    x: 'float' = 1\n    n: int = 2\n"
    exec(code + "    K: ClassVar[int] = 3\n    _hidden: dict = {}\n", space)
    assert space["Late"]().parameters == {"x": 1.0, "n": 2}


def test_the_signature_is_the_parameters() -> None:
    import inspect

    assert str(inspect.signature(Fade)).startswith("(*, window='3d', entry_z=2.0")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("x: float", "Bad.x has no default: write x: float = 1.0"),
        ("x: list = []", "Bad.x: list: a parameter is an int, float, bool or str"),
        ("x: float | None = None", "a parameter is an int, float, bool or str"),
        ("x: 'Decimal' = 1", "Bad.x: Decimal: a parameter is an int, float, bool or str"),
        ("x: float = 'a'", "Bad: x='a': write a number"),
        ("x: float = float('nan')", "Bad: x=nan: write a number"),
        ("x: int = 2.5", "Bad: x=2.5: write a whole number"),
        ("equity: float = 1.0", "Bad.equity: decide gets the account's equity by that name; call it something else"),
        ("features: float = 1.0", "Bad.features: every strategy has a features already"),
        ("replace: float = 1.0", "Bad.replace: every strategy has a replace already"),
        ("stop_loss = 0.05", "Bad.stop_loss has no type: write stop_loss: float = 0.05"),
        ("stop_loss: str = '5%'", "Bad.stop_loss: str: the engine reads it: write stop_loss: float"),
        ("stop_loss: float = -0.05", "Bad: stop_loss=-0.05: write a fraction of the entry price, such as 0.05"),
        ("stop_loss: float = float('inf')", "Bad: stop_loss=inf: write a finite number"),
        ("delay: float = 1.0", "Bad.delay: float: the engine reads it: write delay: int"),
        ("delay: int = -1", "Bad: delay=-1: write a whole number of bars, 0 or more"),
        ("def decide(self, position): return 0.0", "Bad.decide: write @staticmethod above it"),
    ],
)
def test_a_class_that_cannot_work_is_refused_when_it_is_made(body: str, message: str) -> None:
    with pytest.raises(BadInput) as refused:
        exec(f"class Bad(Strategy):\n    {body}", {"Strategy": Strategy})
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_states_and_reserved_names_are_what_the_design_says() -> None:
    assert STATE[0] == "position"
    assert len(STATE) == 8
    assert set(RESERVED) == {"stop_loss", "take_profit", "trailing_stop", "limit_offset", "limit_ttl", "delay"}


# ---- warm-up -------------------------------------------------------------------------------------


def warm(value: object) -> Strategy:
    return type("Warm", (Strategy,), {"warmup": value})()


@pytest.mark.parametrize(("declared", "bars"), [(0, 0), (48, 48), ("2d", 48), ("90m", 2), (np.int64(3), 3)])
def test_warmup_is_bars_or_a_duration(declared: object, bars: int, market: Market) -> None:
    assert warmup_bars(warm(declared), market) == bars


@pytest.mark.parametrize("declared", ["long", -1, 2.5, math.nan, True, None])
def test_other_warmups_are_refused(declared: object, market: Market) -> None:
    with pytest.raises(BadInput, match=r"Warm\.warmup=.*write bars, such as 200, or a duration, such as '3d'"):
        warmup_bars(warm(declared), market)


def test_warmup_may_follow_a_parameter(market: Market) -> None:
    class Slow(Fade):
        @property
        def warmup(self):
            return self.window

    class Own(Fade):
        warmup: int = 10

    assert warmup_bars(Fade(), market) == 0
    assert warmup_bars(Slow(window="1d"), market) == 24
    assert warmup_bars(Own(warmup=5), market) == 5


# ---- features ------------------------------------------------------------------------------------


def giving(**features: object) -> Strategy:
    return type("Idea", (Strategy,), {"features": lambda self, market: features})()


def test_features_and_the_parameters_they_used(market: Market) -> None:
    found, used = features_of(Fade(entry_z=3), market)
    assert used == {"entry_z", "bars"}
    assert set(found) == {"z", "far"}
    np.testing.assert_array_equal(found["z"], market.close * 3)
    assert found["far"].dtype == np.float64


def test_a_strategy_without_features_has_none(market: Market) -> None:
    class Plain(Strategy):
        x: float = 1.0

    assert features_of(Plain(), market) == ({}, frozenset())


def test_parameters_read_in_any_way_are_noted(market: Market) -> None:
    import functools

    class Deep(Strategy):
        a: int = 1
        b: int = 2
        c: int = 3

        @functools.cached_property
        def both(self):
            return self.a + self.b

        def features(self, market):
            return {"f": np.full(len(market), self.both)}

    strategy = Deep()
    assert strategy.both == 3
    for _ in range(2):
        assert features_of(strategy, market)[1] == {"a", "b"}
    everything = {
        "parameters": lambda self, market: {"f": [self.parameters["a"]] * len(market)},
        "hash": lambda self, market: {"f": [hash(self) % 7] * len(market)},
        "replace": lambda self, market: {"f": [self.replace(a=2).a] * len(market)},
    }
    for features in everything.values():
        assert features_of(type("Whole", (Deep,), {"features": features})(), market)[1] == {"a", "b", "c"}


def test_other_parameters_do_not_change_the_features(market: Market) -> None:
    found, used = features_of(Fade(), market)
    others = {n: v for n, v in {"window": "9d", "calm": False, "side": "long"}.items() if n not in used}
    again, _ = features_of(Fade(**others), market)
    assert all(np.array_equal(found[name], again[name]) for name in found)


@pytest.mark.parametrize(
    "made",
    [list, pd.Series, pl.Series, np.ascontiguousarray, lambda v: np.array(v, object), lambda v: np.asarray(v)[:, None]],
)
def test_arrays_of_many_kinds(made: Callable[[Any], Any], market: Market) -> None:
    values = [1.0, np.nan] * 50
    array = features_of(giving(f=made(values)), market)[0]["f"]
    np.testing.assert_array_equal(array, values)
    assert array.shape == (100,)
    assert array.dtype == np.float64
    assert array.flags.c_contiguous
    assert not array.flags.writeable


def test_the_users_own_array_stays_writeable(market: Market) -> None:
    own = np.zeros(100)
    features_of(giving(f=own), market)
    own[0] = 1.0


def test_several_symbols_have_columns_or_share_one(pair: Market) -> None:
    found, _ = features_of(giving(both=pair.close, one=np.arange(100), turned=np.asfortranarray(pair.close)), pair)
    assert found["both"].shape == (100, 2)
    assert found["one"].shape == (100,)
    assert found["turned"].flags.c_contiguous


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"f": np.zeros(99)}, "Idea.features: f has 99 values, the market 100 bars"),
        ({"f": 1.0}, "f is one number (1.0): a feature has a value for each bar"),
        ({"f": np.zeros((100, 3))}, "f is of shape (100, 3): a feature is (100,)"),
        ({"f": ["a"] * 100}, "f holds <U1, not numbers"),
        ({"f": pd.date_range("2024-01-01", periods=100)}, "f holds datetime64"),
        ({"f": np.zeros(100, complex)}, "f holds complex128, not numbers"),
        ({"f": [object()] * 100}, "f holds object, not numbers"),
        ({"my f": np.zeros(100)}, "'my f' cannot be the name of a feature"),
        ({3: np.zeros(100)}, "3 cannot be the name of a feature"),
        (None, "Idea.features returned NoneType: return a dict"),
        (np.zeros(100), "Idea.features returned ndarray: return a dict"),
    ],
)
def test_other_features_are_refused(features: Any, message: str, market: Market) -> None:
    idea = type("Idea", (Strategy,), {"features": lambda self, market: features})()
    with pytest.raises(BadInput) as refused:
        features_of(idea, market)
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_shapes_are_named_for_several_symbols(pair: Market) -> None:
    with pytest.raises(BadInput, match=re.escape("f is of shape (100, 3): a feature is (100,) or (100, 2)")):
        features_of(giving(f=np.zeros((100, 3))), pair)


def test_what_features_raise_is_raised(market: Market) -> None:
    def failing(self: Strategy, market: Market) -> dict[str, Any]:
        raise ZeroDivisionError("mine")

    with pytest.raises(ZeroDivisionError, match="mine"):
        features_of(type("Idea", (Strategy,), {"features": failing})(), market)


# ---- reserved fields -----------------------------------------------------------------------------


def test_reserved_fields_are_numbers_or_features() -> None:
    class Stops(Strategy):
        stop_loss: float = 0.05
        take_profit: float = 0.0
        limit_offset: float = 0.0
        delay: int = 2

    trailing = np.array([0.0, 0.1, np.nan])
    found = reserved_of(Stops(), {"trailing_stop": trailing, "z": trailing})
    assert list(found) == ["stop_loss", "take_profit", "trailing_stop", "limit_offset", "delay"]
    assert (found["stop_loss"], found["limit_offset"], found["delay"]) == (0.05, 0.0, 2.0)
    assert math.isnan(found["take_profit"])  # type: ignore[arg-type]
    np.testing.assert_array_equal(found["trailing_stop"], [np.nan, 0.1, np.nan])
    assert reserved_of(Fade(), {}) == {}


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("stop_loss", [-0.1, 0.1], "stop_loss is a fraction of the entry price: 0 or more, or NaN for none"),
        ("delay", [0.5, 1.0], "delay is a number of bars: whole, 0 or more, or NaN for none"),
        ("limit_ttl", [np.inf, 1.0], "limit_ttl is a number of bars"),
        ("limit_ttl", [-1.0, 1.0], "limit_ttl is a number of bars"),
    ],
)
def test_wrong_reserved_features_are_refused(name: str, values: list[float], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        reserved_of(Fade(), {name: np.array(values)})


def test_a_reserved_field_is_a_parameter_or_a_feature() -> None:
    class Stops(Strategy):
        stop_loss: float = 0.05

    with pytest.raises(BadInput, match="Stops: stop_loss is a parameter and a feature: keep one of them"):
        reserved_of(Stops(), {"stop_loss": np.zeros(3)})


# ---- looking ahead -------------------------------------------------------------------------------


def ratio(market: Market) -> pd.Series:
    return pd.Series(market.close)


HONEST: dict[str, Callable[[Market], Any]] = {
    "the past": lambda m: ratio(m).shift(1),
    "a rolling mean": lambda m: ratio(m).rolling(10).mean(),
    "an expanding one": lambda m: ratio(m).expanding().mean(),
    "another order of sums": lambda m: np.convolve(m.close, np.ones(20), "full")[: len(m)],
    "a constant": lambda m: np.full(len(m), 7.0),
    "inf": lambda m: np.where(np.arange(len(m)) % 3 == 0, np.inf, -np.inf),
}
LEAKING: dict[str, Callable[[Market], Any]] = {
    "the next bar": lambda m: ratio(m).shift(-1),
    "filled back": lambda m: ratio(m).where(np.arange(len(m)) % 7 == 0).bfill(),
    "the whole mean": lambda m: ratio(m) - ratio(m).mean(),
    "the length": lambda m: np.full(len(m), len(m)),
    "a day's close": lambda m: ratio(m).groupby(np.arange(len(m)) // 24).transform("last"),
    "one bar late in it": lambda m: np.where(np.arange(len(m)) == 70, m.close[-1], 0.0),
    "a centred mean": lambda m: ratio(m).rolling(5, center=True).mean(),
}


def seeing(feature: Callable[[Market], Any]) -> Strategy:
    return type("Seeing", (Strategy,), {"features": lambda self, market: {"f": feature(market)}})()


@pytest.mark.parametrize("name", HONEST)
def test_features_of_the_past_pass(name: str, market: Market) -> None:
    assert lookahead(seeing(HONEST[name]), market) == []


@pytest.mark.parametrize("name", LEAKING)
def test_features_of_the_future_are_found(name: str, market: Market) -> None:
    assert [leak.feature for leak in lookahead(seeing(LEAKING[name]), market)] == ["f"]


def test_the_first_bar_that_differs_is_named(market: Market) -> None:
    assert lookahead(seeing(LEAKING["the next bar"]), market, cuts=[60, 30, 45]) == [Leak("f", 29)]
    assert lookahead(seeing(LEAKING["one bar late in it"]), market) == [("f", 70)]


def test_columns_are_compared(pair: Market) -> None:
    class Idea(Strategy):
        def features(self, market):
            ahead = np.vstack([market.close[1:, 1], market.close[:-1, 1]]).T
            return {"good": market.close, "bad": np.vstack([ahead, ahead[-1:]]), "alone": market.close[:, 0]}

    leaks = lookahead(Idea(), pair, cuts=[50])
    assert [leak.feature for leak in leaks] == ["bad"]


def test_a_feature_that_comes_and_goes_is_a_leak(market: Market) -> None:
    class Idea(Strategy):
        def features(self, market):
            return {"f": market.close} | ({"g": market.close} if len(market) > 50 else {})

    assert lookahead(Idea(), market, cuts=[40, 60]) == [("g", 0)]


@pytest.mark.parametrize("cut", [0, 100, -3, 500])
def test_cuts_leave_something(cut: int, market: Market) -> None:
    with pytest.raises(BadInput, match="write 1 to 99"):
        lookahead(Fade(), market, cuts=[cut])


def test_short_markets_can_be_checked() -> None:
    assert lookahead(seeing(HONEST["the past"]), made_up(3)) == []
    assert lookahead(seeing(LEAKING["the next bar"]), made_up(2)) == [("f", 0)]


def test_the_cut_market_knows_nothing_of_later() -> None:
    """Settlements that became known after the cut are not there, so features made of them are honest or found."""
    ts = pd.date_range("2024-01-01", periods=48, freq="1h", unit="ns")
    candles = pd.DataFrame({"ts": ts, "open": 1.0, "high": 1.0, "low": 1.0, "close": 1.0, "volume": 1.0})
    funding = pd.DataFrame({"ts": ts[::8], "rate": np.arange(6) / 1e4, "interval_hours": 8.0})
    market = Market.from_frames(candles, funding=funding)
    count = seeing(lambda m: np.full(len(m), len(m.settlements)))
    past = seeing(lambda m: np.searchsorted(m.settlements["bar"], np.arange(len(m)), side="right"))
    assert lookahead(count, market)
    assert lookahead(past, market) == []
    assert lookahead(seeing(lambda m: m.funding_8h), market) == []


# ---- finding strategies --------------------------------------------------------------------------

FILE = """
    from backtest.strategy import HOLD, Strategy

    class Alpha(Strategy):
        x: float = {x}
        @staticmethod
        def decide(position, x):
            return x
"""
BETA = """
    class Beta(Alpha):
        pass

    class _Hidden(Alpha):
        pass
"""


def put(folder: Path, name: str, text: str) -> Path:
    file = folder / name
    file.write_text(textwrap.dedent(text))
    return file


def test_a_class_in_a_file(tmp_path: Path) -> None:
    file = put(tmp_path, "ideas.py", FILE.format(x=1.0) + BETA)
    assert load(f"{file}:Alpha").__name__ == "Alpha"
    assert load(f"{file}:Beta")().parameters == {"x": 1.0}


def test_the_only_class_of_a_file_needs_no_name(tmp_path: Path) -> None:
    file = put(tmp_path, "ideas.py", FILE.format(x=1.0))
    assert load(str(file)).__name__ == "Alpha"
    both = put(tmp_path, "both.py", FILE.format(x=1.0) + BETA)
    with pytest.raises(BadInput, match=r"both.py holds several strategies: write .*both.py:Alpha, or Alpha, Beta"):
        load(str(both))


def test_an_edited_file_is_read_again(tmp_path: Path) -> None:
    from backtest.decide import bind, compile_decide

    made = []
    for x in (1.0, 22.0):
        file = put(tmp_path, "ideas.py", FILE.format(x=x).replace("return x", f"return x + {x}"))
        made.append(load(f"{file}:Alpha"))
    assert [cls().parameters["x"] for cls in made] == [1.0, 22.0]
    assert [compile_decide(bind(cls, ()))(0.0, 0.0) for cls in made] == [1.0, 22.0]


def test_a_file_may_import_what_lies_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "beside_it", raising=False)
    put(tmp_path, "beside_it.py", "X = 3.5\n")
    text = FILE.format(x="beside_it.X").replace("from backtest", "import beside_it\n    from backtest", 1)
    before = list(sys.path)
    assert load(f"{put(tmp_path, 'ideas.py', text)}:Alpha")().parameters == {"x": 3.5}
    assert sys.path == before
    monkeypatch.delitem(sys.modules, "beside_it")


@pytest.mark.parametrize(
    ("text", "name", "error", "message"),
    [
        (FILE.format(x=1.0), ":Alpa", NotFound, "has no strategy Alpa: did you mean Alpha?"),
        ("x = 1", ":Alpha", NotFound, "has no strategy Alpha: it holds no subclass of backtest.strategy.Strategy"),
        ("x = 1", "", NotFound, "has no strategy: it holds no subclass"),
        ("def f(:\n    pass", "", BadInput, "ideas.py:1: `def f(:`\nSyntaxError: invalid syntax"),
        ("y = 2\nx = 1 / 0", "", BadInput, "ideas.py:2: `x = 1 / 0`\nZeroDivisionError: division by zero"),
        ("import not_there_at_all", "", BadInput, "ModuleNotFoundError: No module named 'not_there_at_all'"),
        (FILE.format(x="'a'"), "", BadInput, "Alpha: x='a': write a number"),
    ],
)
def test_files_that_do_not_do(text: str, name: str, error: type[Exception], message: str, tmp_path: Path) -> None:
    file = put(tmp_path, "ideas.py", text)
    with pytest.raises(error) as refused:
        load(f"{file}{name}")
    assert message in str(refused.value)


def test_a_file_that_fails_leaves_no_module(tmp_path: Path) -> None:
    file = put(tmp_path, "failing.py", "1 / 0")
    with pytest.raises(BadInput):
        load(str(file))
    assert not [name for name in sys.modules if name.startswith("unwind_file_failing")]


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    put(tmp_path, "ideas.py", "")
    with pytest.raises(NotFound, match=r"there is no file .*idea.py: did you mean ideas.py\?"):
        load(f"{tmp_path / 'idea.py'}:Alpha")


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package of strategies, and a distribution that registers one."""
    folder = tmp_path / "made_up_strategies"
    (folder / "signals").mkdir(parents=True)
    put(folder, "__init__.py", "")
    put(folder / "signals", "__init__.py", "raise RuntimeError('is not a strategy')")
    put(folder, "alpha.py", FILE.format(x=1.0))
    put(folder, "beta.py", "from made_up_strategies.alpha import Alpha\n" + textwrap.dedent(BETA))
    put(tmp_path, "registered.py", FILE.format(x=9.0).replace("Alpha", "Gamma") + "    word = 'no strategy'\n")
    info = tmp_path / "registered-1.0.dist-info"
    info.mkdir()
    put(info, "METADATA", "Metadata-Version: 2.1\nName: registered\nVersion: 1.0\n")
    entries = ["Gamma = registered:Gamma", "word = registered:word", "gone = not_there_at_all:Idea"]
    put(info, "entry_points.txt", "[unwind.strategies]\n" + "\n".join(entries) + "\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [m for m in sys.modules if m.partition(".")[0] in ("made_up_strategies", "registered")]:
        del sys.modules[name]


def test_strategies_of_a_package_and_registered_ones(package: Path) -> None:
    assert load("Alpha", "made_up_strategies").__module__ == "made_up_strategies.alpha"
    assert load("Beta", "made_up_strategies").__module__ == "made_up_strategies.beta"
    assert load("Gamma")().parameters == {"x": 9.0}
    assert available("made_up_strategies") == ["Alpha", "Beta", "Gamma", "gone", "word"]
    assert available() == ["Gamma", "gone", "word"]


def test_entry_points_of_the_backport_are_loaded_too(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Other:  # what importlib_metadata gives, once anything has imported it
        def __init__(self, entry: importlib.metadata.EntryPoint) -> None:
            self.name, self.value, self.load = entry.name, entry.value, entry.load

    real = importlib.metadata.entry_points
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda **given: [Other(one) for one in real(**given)])
    assert load("Gamma")().parameters == {"x": 9.0}


@pytest.mark.parametrize(
    ("name", "error", "message"),
    [
        ("Alpa", NotFound, "there is no strategy Alpa: did you mean Alpha? One of a file is file.py:Class"),
        ("_Hidden", NotFound, "there is no strategy _Hidden"),
        ("word", BadInput, "the strategy word (registered:word) is no subclass"),
        (
            "gone",
            BadInput,
            "the strategy gone (not_there_at_all:Idea) cannot be loaded: ModuleNotFoundError: No module",
        ),
    ],
)
def test_names_that_do_not_do(name: str, error: type[Exception], message: str, package: Path) -> None:
    with pytest.raises(error) as refused:
        load(name, "made_up_strategies")
    assert message in str(refused.value)


def test_a_broken_strategy_does_not_hide_the_others(package: Path) -> None:
    put(package, "broken.py", "import not_there_at_all")
    assert load("Alpha", "made_up_strategies").__name__ == "Alpha"
    with pytest.raises(NotFound, match=r"Could not be read: made_up_strategies.broken \(ModuleNotFoundError"):
        load("Delta", "made_up_strategies")


def test_one_name_means_one_strategy(package: Path) -> None:
    put(package, "again.py", FILE.format(x=2.0))
    with pytest.raises(BadInput, match=r"Alpha is the name of several strategies, in made_up_strategies\.again and"):
        load("Alpha", "made_up_strategies")


def test_the_package_of_this_distribution_can_be_looked_through() -> None:
    assert isinstance(available("strategies"), list)


# ---- imports -------------------------------------------------------------------------------------


def test_the_seam_costs_no_more_than_numpy() -> None:
    code = "import sys; import backtest.strategy, backtest.features, backtest.strategy_lookup\n"
    code += "print([m for m in ('numba', 'pandas', 'polars', 'duckdb', 'strategies') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# ---- the page ------------------------------------------------------------------------------------

PAGE = (ROOT / "docs/strategies.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.skipif(bool(os.environ.get("NUMBA_DISABLE_JIT")), reason="the page shows what the compiler says")
def test_the_python_of_the_page_runs(tmp_path: Path) -> None:
    assert len(BLOCKS) >= 5
    (tmp_path / "ideas.py").write_text("\n".join(BLOCKS))
    command = [sys.executable, "-W", "error", "ideas.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    shown = re.findall(r"^# prints: (.*)$", "\n".join(BLOCKS), re.MULTILINE)
    assert done.stdout.splitlines() == shown


def test_the_page_names_every_state_and_reserved_field() -> None:
    assert all(f"`{name}`" in PAGE for name in (*STATE, *RESERVED))
