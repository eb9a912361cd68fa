"""The notebooks of `unwind lab`: where their scripts are, and how they become `.ipynb` files that are the user's.

1. Scripts are in `notebooks/` of a checkout, or in `share/unwind/notebooks` of an installed distribution.
2. Each becomes a notebook that names its kernel, so that opening it asks nothing, and that remembers what its cells
   said when it was made.
3. A notebook whose cells were edited is the user's: it is never written again. One that was not is renewed when its
   script has changed. One that was deleted is made again.
"""

from __future__ import annotations

import hashlib
import json
from importlib import metadata
from pathlib import Path
from typing import Any

from data.errors import NotFound, StoreNotWritable

FOLDER = "unwind-notebooks"
FIRST = "01_quickstart.ipynb"
MADE_AS = "unwind"  # key of a notebook's metadata: the hash of its cells when it was made
INSTALLED = "share/unwind/notebooks/"
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}


def scripts() -> list[Path]:
    """The percent scripts that come with Unwind, in order."""
    beside = Path(__file__).resolve().parents[2] / "notebooks"
    found = sorted(beside.glob("[0-9]*.py")) or _installed()
    if not found:
        raise NotFound("the notebooks did not come with this installation: name a folder to open, as in `unwind lab .`")
    return found


def _installed() -> list[Path]:
    try:
        files = metadata.files("unwind") or []
    except metadata.PackageNotFoundError:
        return []
    ours = [Path(str(f.locate())) for f in files if INSTALLED in f.as_posix() and f.suffix == ".py"]
    return sorted(path for path in ours if path.is_file())


def make(folder: Path) -> list[str]:
    """Notebooks into a folder; the names of those that were written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return [script.stem for script in scripts() if _make(script, folder / f"{script.stem}.ipynb")]
    except OSError as error:
        said = error.strerror or str(error)
        raise StoreNotWritable(
            f"{folder}: the notebooks cannot be written there: {said}; `cd` to where they can"
        ) from error


def _make(script: Path, target: Path) -> bool:
    notebook = notebook_of(script)
    if target.exists() and not _renewable(target, notebook):
        return False
    target.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return True


def notebook_of(script: Path) -> dict[str, Any]:
    import jupytext

    made: dict[str, Any] = json.loads(jupytext.writes(jupytext.read(script), fmt="ipynb"))
    made["metadata"] = {"kernelspec": KERNEL, "language_info": {"name": "python"}, MADE_AS: _cells(made)}
    return made


def _renewable(target: Path, new: dict[str, Any]) -> bool:
    """Whether it is as it was made, and its script has changed since."""
    try:
        there = json.loads(target.read_text(encoding="utf-8"))
        made_as, now = there["metadata"][MADE_AS], _cells(there)
    except (ValueError, LookupError, TypeError):
        return False
    return bool(made_as == now != new["metadata"][MADE_AS])


def _cells(notebook: dict[str, Any]) -> str:
    texts = [(cell["cell_type"], "".join(cell["source"])) for cell in notebook["cells"]]
    return hashlib.sha256(json.dumps(texts).encode()).hexdigest()[:16]
