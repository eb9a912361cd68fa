"""From sections to one HTML file that holds everything it shows, plotly.js included, and asks no network for anything.

1. charts and rows of explorers are packed together, gzipped, into one script element;
2. plotly.js comes from the installed wheel, gzipped, the same way;
3. a sealed Content-Security-Policy forbids every request and every eval;
4. jinja2 escapes all text; the packed parts are base64, so that no name can end a script.

The page has no date of its making: the same run gives the same bytes.
"""

from __future__ import annotations

import base64
import functools
import gzip
import importlib.util
import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

from backtest.putting import put
from backtest.report.parts import Page
from data.errors import UnwindError

WEB = Path(__file__).parent / "web"


def html(page: Page) -> str:
    import jinja2
    import markupsafe

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(WEB),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    charts = [
        {"id": c.id, "data": c.data, "layout": c.layout, "switches": [{"on": s.on, "off": s.off} for s in c.switches]}
        for section in page.sections
        for c in section.charts
    ]
    rows = [
        {
            "id": e.id,
            "heads": e.heads,
            "kinds": e.kinds,
            "columns": e.columns,
            "filters": e.filters,
            "outcome": e.outcome,
            "cents": e.cents,
        }
        for section in page.sections
        for e in section.explorers
    ]
    return environment.get_template("page.html").render(
        page=page,
        style=markupsafe.Markup((WEB / "page.css").read_text(encoding="utf-8")),
        script=markupsafe.Markup((WEB / "page.js").read_text(encoding="utf-8")),
        version=version("unwind"),
        packed=packed({"charts": charts, "rows": rows}),
        plotly=plotly() if charts else "",
    )


def write(path: str | Path, text: str) -> Path:
    """The page as a file; its folder is made."""
    return put(Path(path), text.encode("utf-8"))


def packed(value: Any) -> str:
    text = json.dumps(value, allow_nan=False, separators=(",", ":"), ensure_ascii=False)
    return _base64(gzip.compress(text.encode("utf-8"), 6, mtime=0))


@functools.cache
def plotly() -> str:
    """plotly.js out of the installed wheel. The wheel's Python side is not loaded."""
    spec = importlib.util.find_spec("plotly")
    if spec is None or not spec.submodule_search_locations:
        raise UnwindError("plotly is not installed, and the charts are drawn with it: pip install plotly")
    source = Path(spec.submodule_search_locations[0]) / "package_data" / "plotly.min.js"
    return _base64(gzip.compress(source.read_bytes(), 9, mtime=0))


def _base64(value: bytes) -> str:
    return base64.b64encode(value).decode("ascii")
