"""Progress is shown where somebody looks: at a terminal and in a kernel, and not in a file."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from typing import Any

import pytest

from backtest.progress import bar, in_notebook

CODE = "from backtest.progress import bar\nwith bar(3, 'sets', {wanted}) as shown:\n    shown.update(3)"


@pytest.mark.parametrize(("wanted", "shown"), [(True, True), (None, False), (False, False)])
def test_without_a_terminal_it_is_shown_when_asked_for(wanted: bool | None, shown: bool) -> None:
    ran = subprocess.run([sys.executable, "-c", CODE.format(wanted=wanted)], capture_output=True, text=True)
    assert ran.returncode == 0
    assert ("3.00/3.00" in ran.stderr) is shown
    assert ran.stdout == ""


@pytest.mark.skipif(os.name == "nt", reason="terminals of this kind are not there")
def test_at_a_terminal_it_is_shown() -> None:
    import fcntl
    import pty
    import termios

    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    subprocess.run([sys.executable, "-c", CODE.format(wanted=None)], stderr=theirs, check=True)
    os.close(theirs)
    seen = os.read(ours, 65536).decode()
    os.close(ours)
    assert "3.00/3.00" in seen


def test_here_is_no_notebook_and_the_rest_is_counted_from_what_is_done() -> None:
    assert not in_notebook()
    with bar(5, "folds", True, done=2) as shown:
        assert (shown.n, shown.total) == (2, 5)


@pytest.mark.slow
def test_in_a_kernel_it_is_drawn_and_one_that_nobody_asked_for_goes_when_it_is_full() -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipywidgets")
    v4: Any = nbformat.v4
    seen = (
        "from backtest.progress import bar\nshown = bar(3, 'sets', {wanted})\nhidden = shown.disable\n"
        "shown.update(3)\nshown.close()\n(not hidden, not hidden and shown.container.comm is None)"
    )
    cells = [v4.new_code_cell(seen.format(wanted=wanted)) for wanted in (None, True, False)]
    made = v4.new_notebook(cells=cells)
    nbclient.NotebookClient(made, kernel_name="python3", timeout=60, allow_errors=True).execute()
    told = [cell.outputs[-1] for cell in made.cells]
    assert told[0].data["text/plain"] == "(True, True)"
    assert told[1].data["text/plain"] == "(True, False)"
    assert any("application/vnd.jupyter.widget-view+json" in out.get("data", {}) for out in made.cells[1].outputs)
    assert len(made.cells[2].outputs) == 1
