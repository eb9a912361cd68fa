"""Pages of documentation as tests see them: blocks of code, what they print, commands, links."""

from __future__ import annotations

import contextlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
_BLOCK = re.compile(
    r"^(?:<!-- not run: (?P<why>.+?) -->\n\n?)?```(?P<language>\w*)\n(?P<text>.*?)^```", re.MULTILINE | re.DOTALL
)
_PRINTS = re.compile(r"^ *# prints: ?(.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """One fenced block. `exempt` says why it is not run: `<!-- not run: reason -->` stands above it."""

    page: str
    line: int
    language: str
    text: str
    exempt: str = ""

    @property
    def where(self) -> str:
        return f"docs/{self.page}.md:{self.line}"


def text_of(page: str) -> str:
    return (DOCS / f"{page}.md").read_text(encoding="utf-8")


def blocks(page: str, language: str = "") -> list[Block]:
    text = text_of(page)
    found = [
        Block(page, text[: m.start("language")].count("\n") + 1, m["language"], m["text"], m["why"] or "")
        for m in _BLOCK.finditer(text)
    ]
    return [b for b in found if language in ("", b.language)]


def pages() -> list[str]:
    return sorted(p.stem for p in DOCS.glob("*.md"))


def run_python(page: str, names: dict[str, Any] | None = None) -> dict[str, Any]:
    """All python blocks of a page, one after the other, in one namespace; each must print what it says it prints."""
    names = {} if names is None else names
    for block in blocks(page, "python"):
        if not block.exempt:
            run_block(block, names)
    return names


def run_block(block: Block, names: dict[str, Any]) -> None:
    """Its lines keep their numbers, so that an error names the line of the page."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        exec(compile("\n" * block.line + block.text, f"docs/{block.page}.md", "exec"), names)
    said = _PRINTS.findall(block.text)
    if said:
        assert out.getvalue().splitlines() == said, block.where


def links(text: str) -> Iterator[str]:
    """Targets of links outside of code, without those to the web."""
    for target in re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)):
        if not re.match(r"[a-z]+:", target):
            yield target


def anchors(text: str) -> set[str]:
    """The names of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
