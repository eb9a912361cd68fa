"""`unwind lab`: JupyterLab on the notebooks.

The server runs in this process, on this machine only, with Jupyter's own token. Settings that
differ from Jupyter's come from a folder that lives as long as the server; nothing of the user's is
written.
"""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from data.errors import NotFound, UnwindError

SETTINGS: dict[str, dict[str, object]] = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False},
}


def lab(
    folder: Annotated[Path | None, Parameter(help="Folder to open; default: the notebooks.")] = None,
    *,
    port: Annotated[int, Parameter(help="Port to try first.")] = 8888,
    browser: Annotated[bool, Parameter(help="Open a browser.")] = True,
    allow_root: Annotated[
        bool, Parameter(negative="", help="Run as root, as in a container; Jupyter refuses else.")
    ] = False,
) -> None:
    """Open JupyterLab on the notebooks.

    The address with its token is printed and opened in a browser; Ctrl-C stops the server.
    """
    if importlib.util.find_spec("jupyterlab") is None:
        raise UnwindError("JupyterLab is not installed: pip install 'unwind[lab]'")
    root = notebooks_folder() if folder is None else folder
    if not root.is_dir():
        raise NotFound(f"no folder {root}: name one that exists, as in `unwind lab .`")
    arguments = [
        f"--ServerApp.root_dir={root.resolve()}",
        f"--ServerApp.port={port}",
        "--ip=127.0.0.1",
    ]
    if not browser:
        arguments.append("--no-browser")
    if allow_root:
        arguments.append("--allow-root")
    with tempfile.TemporaryDirectory(prefix="unwind-lab-") as config:
        write_settings(Path(config))
        path = [config, *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
        os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(path)

        from jupyterlab.labapp import LabApp

        LabApp.launch_instance(argv=arguments)


def notebooks_folder() -> Path:
    """`notebooks/` here, or else beside the packages, which is where a checkout has it."""
    here = Path("notebooks")
    return here if here.is_dir() else Path(__file__).resolve().parents[2] / "notebooks"


def write_settings(config: Path) -> None:
    folder = config / "labconfig"
    folder.mkdir(parents=True)
    (folder / "default_setting_overrides.json").write_text(json.dumps(SETTINGS), encoding="utf-8")
