"""`unwind new strategy NAME`: a strategy that works, with its tests, to be made into yours."""

from __future__ import annotations

import importlib.util
import keyword
import re
import shlex
import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from backtest.cli.options import Json, print_json
from data.errors import BadInput, StoreNotWritable

HERE = Path(__file__).parent / "templates"


def strategy(
    name: Annotated[str, Parameter(help="Of the class, such as WickFade.")],
    *,
    folder: Annotated[Path, Parameter(help="Where to write it.")] = Path(),
    as_json: Json = False,
) -> None:
    """Write a strategy that works, and its tests, to start from.

    Such as:

        unwind new strategy WickFade

    This writes wick_fade.py and test_wick_fade.py. The strategy runs as it is;
    its tests look for look-ahead, for a warm-up that is too short, and whether
    it keeps its own limit. Nothing is overwritten.
    """
    cls = _class_name(name)
    stem = _module_name(cls)
    made = {
        folder / f"{stem}.py": (HERE / "strategy.txt").read_text(encoding="utf-8"),
        folder / f"test_{stem}.py": (HERE / "test_strategy.txt").read_text(encoding="utf-8"),
    }
    try:
        for path in made:
            if path.exists():
                raise BadInput(f"{path} is there already: choose another name, or another --folder")
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in made.items():
            path.write_text(text.replace("NewStrategy", cls).replace("new_strategy", stem), encoding="utf-8")
    except OSError as error:
        raise StoreNotWritable(f"{error.filename}: {error.strerror}: name another --folder") from None
    file, test = folder / f"{stem}.py", folder / f"test_{stem}.py"
    if as_json:
        print_json({"strategy": f"{file}:{cls}", "file": file, "tests": test})
        return
    named, tested = shlex.quote(f"{file}:{cls}"), shlex.quote(str(test))
    print(f"Written: {file} and {test}")
    print(f"  test it      python -m pytest {tested}")
    print(f"  look at it   unwind strategies {named}")
    print(f"  check it     unwind check lookahead {named}")


def _class_name(name: str) -> str:
    """As it is written, or made from words: wick-fade is WickFade."""
    cls = "".join(part[:1].upper() + part[1:] for part in re.split(r"[\s_-]+", name.strip()))
    if not cls.isidentifier() or not cls.isascii() or keyword.iskeyword(cls) or cls == "Strategy":
        raise BadInput(f"{name!r} cannot be the name of a class: write one such as WickFade")
    return cls


def _module_name(cls: str) -> str:
    """wick_fade of WickFade; refused where Python would take the file, or the class, for another."""
    stem = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", cls).lower()
    if keyword.iskeyword(stem) or stem.startswith("test_") or stem == "test":
        raise BadInput(f"{stem}.py is no name for a module that its tests can import: write one such as {cls}Fade")
    if stem in sys.stdlib_module_names or importlib.util.find_spec(stem) is not None:
        raise BadInput(f"{stem}.py would hide the module {stem} from Python: write one such as {cls}Fade")
    if re.search(rf"\b(import|class|def) (.*, )?{cls}\b", _templates()):
        raise BadInput(f"{cls} is a name that the file itself uses: write one such as {cls}Fade")
    return stem


def _templates() -> str:
    return "\n".join((HERE / name).read_text(encoding="utf-8") for name in ("strategy.txt", "test_strategy.txt"))
