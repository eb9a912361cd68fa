"""What the venues' wire formats share: an answer, its rows (so that faults can be done to them), errors, windows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass
class Reply:
    """A payload; `rows` is the very list inside it, `time` the place of a row's stamp, `step` the rows' spacing."""

    payload: Any
    rows: list[Any] = field(default_factory=list)
    time: int | str = 0
    step: int = 0
    status: int = 200


Params = Mapping[str, Any]


def number(params: Params, name: str, default: int) -> int:
    value = params.get(name)
    return default if value in (None, "") else int(value)
