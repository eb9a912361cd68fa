"""What each of several strategies on one account made, as a table, a curve each, and their books.

    result = simulate(market, together({"squeeze": FundingSqueeze, "trend": ManagedTrend}))
    result.attribution.table              # price, funding, fees, slippage, liquidation and their sum, a row each
    result.attribution.pnl                # a column each: what it had made by each close
    result.attribution.positions("trend") # its book

How it is worked out is in `backtest.attributing`. It is kept with the result.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from data.errors import BadInput, did_you_mean

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

PARTS = ("price", "funding", "fees", "slippage", "liquidation")
"""What a profit is made of; they add up to it. `liquidation`: its fees and what the insurance fund took or paid."""
MEMO = ("traded", "netted", "fees_saved")
"""Notional that went to the venue, that met inside, and the taker's fee that the second would have cost."""
KEPT = "attribution."
ARRAYS = ("parts", "memo", "curves", "books")


@dataclass(frozen=True, eq=False)
class Attribution:
    """The profit of each strategy, in settlement currency. Arrays are one row a strategy."""

    names: tuple[str, ...]
    symbols: tuple[str, ...]
    ts: Ints
    parts: Floats  # (strategies, PARTS)
    memo: Floats  # (strategies, MEMO)
    curves: Floats  # (strategies, bars): profit by each close
    books: Floats  # (strategies, bars, symbols): quantities at each close
    interest: float  # of the account

    @property
    def total(self) -> float:
        """The account's profit: the strategies' and the interest."""
        return float(self.parts.sum() + self.interest)

    @property
    def table(self) -> pd.DataFrame:
        """A row for each strategy, one for the account's interest where there is some, and the sum."""
        import pandas as pd

        rows = pd.DataFrame(self.parts, columns=list(PARTS), index=pd.Index(self.names, name="strategy"))
        rows["profit"] = self.parts.sum(axis=1)
        rows[list(MEMO)] = self.memo
        if self.interest:
            rows.loc["(interest)"] = 0.0
            rows.loc["(interest)", "profit"] = self.interest
        rows.loc["(account)"] = rows.sum()
        return rows

    @property
    def pnl(self) -> pd.DataFrame:
        """What each had made by the close of each bar."""
        import pandas as pd

        return pd.DataFrame(self.curves.T, index=self._index(), columns=list(self.names))

    def _index(self) -> Any:
        import pandas as pd

        return pd.DatetimeIndex(self.ts.astype("datetime64[ns]"), name="ts")

    def positions(self, name: str) -> pd.DataFrame:
        """The book of one strategy by symbol, at the closes."""
        import pandas as pd

        if name not in self.names:
            raise BadInput(f"there is no strategy {name}: {did_you_mean(name, self.names)}")
        held = self.books[self.names.index(name)]
        return pd.DataFrame(held, index=self._index(), columns=list(self.symbols))

    def _repr_html_(self) -> str:
        return str(self.table.to_html(float_format="{:,.2f}".format))


def arrays_of(found: Attribution) -> dict[str, npt.NDArray[Any]]:
    """What is written of it into the file of a result."""
    arrays = {f"{KEPT}{name}": getattr(found, name) for name in ARRAYS}
    return {f"{KEPT}names": np.array(found.names), f"{KEPT}interest": np.array([found.interest]), **arrays}


def from_arrays(arrays: Mapping[str, npt.NDArray[Any]], symbols: tuple[str, ...], ts: Ints) -> Attribution | None:
    """The same again; None where a result has none."""
    if f"{KEPT}names" not in arrays:
        return None
    names = tuple(str(name) for name in arrays[f"{KEPT}names"])
    rest: dict[str, Any] = {name: arrays[f"{KEPT}{name}"] for name in ARRAYS}
    return Attribution(names=names, symbols=symbols, ts=ts, interest=float(arrays[f"{KEPT}interest"][0]), **rest)
