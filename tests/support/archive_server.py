"""A small public archive: makes its files, and serves them over loopback with whatever trouble a test plans."""

from __future__ import annotations

import hashlib
import io
import threading
import time
import zipfile
from collections import Counter
from collections.abc import Iterable
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

KLINE_HEADER = (
    "open_time,open,high,low,close,volume,close_time,quote_volume,count,taker_buy_volume,taker_buy_quote_volume,ignore"
)
MINUTE_MS = 60_000


def zipped(text: str, member: str = "data.csv") -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as z:
        z.writestr(zipfile.ZipInfo(member, (2024, 1, 1, 0, 0, 0)), text)
    return out.getvalue()


def put(root: Path, path: str, text: str, checksum: bool = True) -> Path:
    """A file of the archive and its checksum below `root`."""
    target = root / path
    target.parent.mkdir(parents=True, exist_ok=True)
    content = zipped(text, target.name.replace(".zip", ".csv")) if target.suffix == ".zip" else text.encode()
    target.write_bytes(content)
    if checksum:
        line = f"{hashlib.sha256(content).hexdigest()}  {target.name}\n"
        target.with_name(target.name + ".CHECKSUM").write_text(line)
    return target


def day_ms(day: str) -> int:
    return (date.fromisoformat(day) - date(1970, 1, 1)).days * 86_400_000


def kline_path(symbol: str, day: str, market: str = "um", kind: str = "klines", interval: str = "1m") -> str:
    return f"data/futures/{market}/daily/{kind}/{symbol}/{interval}/{symbol}-{interval}-{day}.zip"


def klines(day: str, closes: Iterable[float], header: bool = True) -> str:
    """One-minute bars from midnight: high and low 1 away from the close, volume 2, price times volume in quote."""
    lines = [KLINE_HEADER] if header else []
    for i, c in enumerate(closes):
        t = day_ms(day) + i * MINUTE_MS
        lines.append(f"{t},{c},{c + 1},{c - 1},{c},2.0,{t + MINUTE_MS - 1},{2 * c},7,0.5,{0.5 * c},0")
    return "\n".join(lines) + "\n"


class ArchiveServer:
    """Serves `root` on 127.0.0.1. `plan[path]` says what goes wrong on the next requests for it, a word each:

    a status number; `drop` (the connection ends in mid-body); `wrong` (other bytes); `cut` (half a file, in good
    order); `slow` (a pause first); `well`. `log` counts (method, path).
    """

    def __init__(self, root: Path, slow_s: float = 0.3) -> None:
        self.root, self.slow_s = root, slow_s
        self.plan: dict[str, list[str]] = {}
        self.log: Counter[tuple[str, str]] = Counter()
        self._lock = threading.Lock()
        self._server = _Quiet(("127.0.0.1", 0), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    @property
    def downloads(self) -> Counter[str]:
        """Whole files that were asked for, checksums aside."""
        return Counter({p: n for (m, p), n in self.log.items() if m == "GET" and not p.endswith(".CHECKSUM")})

    def __enter__(self) -> ArchiveServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def next_word(self, method: str, path: str) -> str:
        with self._lock:
            self.log[method, path] += 1
            words = self.plan.get(path, [])
            return words.pop(0) if words and method == "GET" else "well"


class _Quiet(ThreadingHTTPServer):
    daemon_threads = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""


def _handler(archive: ArchiveServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.answer(body=True)

        def do_HEAD(self) -> None:
            self.answer(body=False)

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def answer(self, body: bool) -> None:
            path = unquote(self.path).lstrip("/")
            word = archive.next_word(self.command, path)
            file = archive.root / path
            if word.isdigit() or not file.is_file():
                self.send_response(int(word) if word.isdigit() else 404)
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            if word == "slow":
                time.sleep(archive.slow_s)
            content = file.read_bytes()
            if word == "wrong":
                content = content[:40] + bytes(b ^ 0xFF for b in content[40:60]) + content[60:]
            if word == "cut":
                content = content[: len(content) // 2]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if body:
                self.wfile.write(content[: len(content) // 2] if word == "drop" else content)

    return Handler
