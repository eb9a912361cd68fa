"""`unwind new strategy NAME`: a strategy that works, with its tests, to be made into yours."""

from __future__ import annotations

import keyword
import re
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from data.errors import BadInput, StoreNotWritable

HERE = Path(__file__).parent / "templates"


def strategy(
    name: Annotated[str, Parameter(help="Of the class, such as WickFade.")],
    *,
    folder: Annotated[Path, Parameter(help="Where to write it.")] = Path(),
) -> None:
    """Write a strategy that works, and its tests, to start from.

    Such as:

        unwind new strategy WickFade

    This writes wick_fade.py and test_wick_fade.py. The strategy runs as it is;
    its tests look for look-ahead, for a warm-up that is too short, and whether
    it keeps its own limit. Nothing is overwritten.
    """
    cls = _class_name(name)
    stem = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls).lower()
    made = {
        folder / f"{stem}.py": (HERE / "strategy.txt").read_text(encoding="utf-8"),
        folder / f"test_{stem}.py": (HERE / "test_strategy.txt").read_text(encoding="utf-8"),
    }
    for path in made:
        if path.exists():
            raise BadInput(f"{path} is there already: choose another name, or another --folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in made.items():
            path.write_text(text.replace("NewStrategy", cls).replace("new_strategy", stem), encoding="utf-8")
    except OSError as error:
        raise StoreNotWritable(f"{error.filename}: {error.strerror}: name another --folder") from None
    file = folder / f"{stem}.py"
    print(f"Written: {file} and {folder / f'test_{stem}.py'}")
    print(f"  test it      python -m pytest {folder / f'test_{stem}.py'}")
    print(f"  look at it   unwind strategies {file}:{cls}")
    print(f"  check it     unwind check lookahead {file}:{cls}")


def _class_name(name: str) -> str:
    """As it is written, or made from words: wick-fade is WickFade."""
    cls = "".join(part[:1].upper() + part[1:] for part in re.split(r"[\s_-]+", name.strip()))
    if not cls.isidentifier() or not cls.isascii() or keyword.iskeyword(cls) or cls == "Strategy":
        raise BadInput(f"{name!r} cannot be the name of a class: write one such as WickFade")
    return cls
