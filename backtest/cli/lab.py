"""`unwind lab`: JupyterLab on the notebooks.

The server runs in this process, on this machine only, with Jupyter's own token. Settings that differ from Jupyter's
come from a folder that lives as long as the server, and a user's own settings come before them; nothing of the user's
is written but the notebooks (`backtest.cli.lab_notebooks`).
"""

from __future__ import annotations

import importlib.util
import json
import os
import sysconfig
import tempfile
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter

from backtest.cli import lab_notebooks
from data.errors import NotFound, UnwindError

Theme = Literal["system", "light", "dark"]

NEEDED = ("jupyterlab", "jupytext", "ipykernel")
SETTINGS: dict[str, dict[str, object]] = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}


def lab(
    folder: Annotated[
        Path | None, Parameter(help=f"Folder to open; without it the notebooks, made in {lab_notebooks.FOLDER}/.")
    ] = None,
    *,
    port: Annotated[int, Parameter(help="Port to try first.")] = 8888,
    browser: Annotated[bool, Parameter(help="Open a browser.")] = True,
    theme: Annotated[Theme, Parameter(help="Of the page; system: as the browser prefers.")] = "system",
    allow_root: Annotated[
        bool, Parameter(negative="", help="Run as root, as in a container; Jupyter refuses else.")
    ] = False,
) -> None:
    """Open JupyterLab on the notebooks.

    Such as:

        unwind lab
        unwind lab research --no-browser --port 9000

    The notebooks are yours: what you change in one is kept, one that you
    delete comes back the next time. The address with its token is printed
    and opened in a browser; Ctrl-C stops the server.
    """
    if lacking := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise UnwindError(f"{lacking[0]} is not installed: pip install 'unwind[lab]'")
    root, first = (_notebooks(), lab_notebooks.FIRST) if folder is None else (folder, "")
    if not root.is_dir():
        what = f"{root} is a file" if root.exists() else f"no folder {root}"
        raise NotFound(f"{what}: name a folder that exists, as in `unwind lab .`")
    arguments = [
        f"--ServerApp.root_dir={root.resolve()}",
        f"--ServerApp.port={port}",
        "--ServerApp.ip=127.0.0.1",
        "--LabApp.extension_manager=readonly",  # it would ask a package index
        f"--LabApp.default_url=/lab/tree/{first}" if first else "--LabApp.default_url=/lab",
    ]
    if not browser:
        arguments.append("--no-browser")
    if allow_root:
        arguments.append("--allow-root")
    with tempfile.TemporaryDirectory(prefix="unwind-lab-") as config:
        write_settings(Path(config), theme)
        _put_first("JUPYTER_CONFIG_PATH", config)
        _put_first("PATH", sysconfig.get_path("scripts"))  # for `!unwind` in a cell

        from jupyterlab.labapp import LabApp

        LabApp.launch_instance(argv=arguments)


def _notebooks() -> Path:
    folder = Path(lab_notebooks.FOLDER)
    if made := lab_notebooks.make(folder):
        print(f"{len(made)} notebooks made in {folder.resolve()}: they are yours to change")
    return folder


def write_settings(config: Path, theme: Theme = "system") -> None:
    """What Lab reads as its defaults, below a folder of its configuration path."""
    folder = config / "labconfig"
    folder.mkdir(parents=True)
    chosen: dict[str, object] = {"adaptive-theme": theme == "system"}
    if theme != "system":
        chosen["theme"] = f"JupyterLab {theme.capitalize()}"
    settings = {**SETTINGS, "@jupyterlab/apputils-extension:themes": chosen}
    (folder / "default_setting_overrides.json").write_text(json.dumps(settings), encoding="utf-8")


def _put_first(variable: str, folder: str) -> None:
    os.environ[variable] = os.pathsep.join([folder, *filter(None, [os.environ.get(variable)])])
