"""`decide`, from a strategy's function to something a kernel can call.

    binding = bind(Fade, ("z",))            # what each argument is: a feature, a parameter, a state
    source = compilable(binding)            # its text, with errors turned into sentinels
    compiled = compile_decide(binding)      # numba's version of it, float64 in, float64 out
    raise explain(binding, arguments, "2024-03-01 08:00", outcome)     # why it gave no target there

`binding` binds; `source` writes the text: `check` refuses what would compile to something else, `answers` makes every
path answer with a number, `names` and `literals` write what comes from outside; `compile` compiles, `words` says why it
cannot; `explain` runs the plain function again.
"""

from backtest.decide.binding import Binding, bind
from backtest.decide.compile import compile_decide
from backtest.decide.explain import explain
from backtest.decide.source import Source, compilable

__all__ = ["Binding", "Source", "bind", "compilable", "compile_decide", "explain"]
