"""One kind of progress bar: at a terminal, in a notebook, and nowhere else unless it is asked for."""

from __future__ import annotations

import sys
from typing import Any


def bar(total: int, unit: str, wanted: bool | None = None, *, done: int = 0) -> Any:
    """A tqdm bar. `wanted`: True always, False never, None where somebody looks.

    In a notebook one that nobody asked for goes when it is full: in a saved page it would be a line of text.
    """
    from tqdm.auto import tqdm

    notebook = in_notebook()
    hidden: bool | None = not wanted
    if wanted is None:
        hidden = False if notebook else None  # None: where there is no terminal
    leave = wanted is True or not notebook
    return tqdm(total=total, initial=done, unit=f" {unit}", unit_scale=True, disable=hidden, leave=leave)


def in_notebook() -> bool:
    """Whether code runs in a kernel, which is no terminal though somebody looks."""
    loaded = sys.modules.get("IPython")
    shell = loaded.get_ipython() if loaded is not None else None
    return hasattr(shell, "kernel")
