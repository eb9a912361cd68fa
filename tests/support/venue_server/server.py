"""All venues behind one loopback address, with whatever trouble a test plans.

`plan` is a list of faults; each meets the next requests whose path and query contain its `match`, `times` times, after
letting `after` of them by. The words:

    429, 500, 503, ...   a status with the venue's own kind of body; `wait` goes into Retry-After
    418, 403             a ban
    slow                 the answer comes after `wait` seconds
    drop                 the connection ends in mid-body
    malformed            half of the JSON, in good order
    double, shuffle      rows twice, rows in another order
    skip, skip-late      two rows before the middle left out, one near the end
    fewer, empty         the second half left out, no rows
    shift                every row stamped one interval later
    clash                one row twice with another close
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from venue_server import binance, bybit, hyperliquid, okx
from venue_server.truth import Truth
from venue_server.wire import Reply


@dataclass
class Fault:
    word: str
    match: str = ""
    times: int = 1
    after: int = 0
    wait: float = 0.0
    body: str = ""  # of a status, in place of the venue's usual one


@dataclass
class Asked:
    path: str
    params: dict[str, Any] = field(default_factory=dict)


class VenueServer:
    """Serves a `Truth` on 127.0.0.1 in the words of every venue."""

    def __init__(self, truth: Truth, port: int = 0) -> None:
        self.truth = truth
        self.plan: list[Fault] = []
        self.log: list[Asked] = []
        self.headers: list[dict[str, str]] = []
        self.done: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._server = _Quiet(("127.0.0.1", port), _handler(self))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def history(self) -> list[Asked]:
        """Requests for history: not for clocks and lists of contracts."""
        quiet = ("time", "exchangeInfo", "instruments-info", "instruments", "metaAndAssetCtxs")
        return [a for a in self.log if not any(a.path.endswith(w) for w in quiet)]

    def __enter__(self) -> VenueServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def fault(self, asked: Asked) -> Fault | None:
        line = f"{asked.path} {json.dumps(asked.params)}"
        with self._lock:
            self.log.append(asked)
            for f in self.plan:
                if f.times > 0 and f.match in line:
                    if f.after > 0:
                        f.after -= 1
                        continue
                    f.times -= 1
                    self.done[f.word] += 1
                    return f
        return None

    def reply(self, asked: Asked, headers: Any) -> Reply:
        for venue in (binance, bybit, okx, hyperliquid):
            found = venue.answer(self.truth, asked.path, asked.params, headers)
            if found is not None:
                return found
        return Reply({"error": "no such page"}, status=404)


def _spoil(reply: Reply, word: str) -> None:
    """Do to the rows what the word says."""
    rows, at = reply.rows, reply.time
    if word == "double":
        rows += [row.copy() for row in rows]
    elif word == "shuffle":
        random.Random(7).shuffle(rows)
    elif word == "skip":
        del rows[len(rows) // 3 : len(rows) // 3 + 2]
    elif word == "skip-late":
        del rows[len(rows) * 19 // 20]
    elif word == "fewer":
        del rows[len(rows) // 2 :]
    elif word == "empty":
        rows.clear()
    elif word == "shift":
        for row in rows:
            row[at] = type(row[at])(int(row[at]) + (reply.step or 3_600_000))
    elif word == "clash" and rows:
        row = rows[0].copy()
        place: Any = next(k for k in (row if isinstance(row, dict) else range(len(row))) if _is_price(row[k], k, at))
        row[place] = "1.5"
        rows.append(row)


def _is_price(value: Any, key: Any, at: Any) -> bool:
    return key != at and isinstance(value, str) and "." in value


class _Quiet(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    allow_reuse_address = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""


def _body(word: str, path: str, until: int) -> Any:
    if word == "418":  # https://developers.binance.com/docs/derivatives/usds-margined-futures/general-info
        told = f"Way too many requests; IP banned until {until}. Please use the websocket for live updates."
        return {"code": -1003, "msg": told}
    if path.startswith("/v5"):
        return {"retCode": 10006, "retMsg": "Too many visits!", "result": {}, "retExtInfo": {}, "time": 0}
    if path.startswith("/api/v5"):
        return {"code": "50011", "data": [], "msg": "Too Many Requests"}
    if path.startswith("/info"):
        return None
    return {"code": -1003, "msg": "Too many requests."}


def _handler(server: VenueServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True
        wbufsize = 1 << 16

        def log_message(self, format: str, *args: Any) -> None:
            pass

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            self.answer(Asked(url.path, dict(parse_qsl(url.query, keep_blank_values=True))))

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            params = json.loads(body or b"{}")
            self.answer(Asked(f"{urlsplit(self.path).path}/{params.get('type', '')}", params))

        def answer(self, asked: Asked) -> None:
            fault = server.fault(asked)
            server.headers.append(dict(self.headers.items()))
            word = fault.word if fault else ""
            if fault and word == "slow":
                time.sleep(fault.wait)
            if fault and word.isdigit():
                until = server.truth.now + 600_000
                wait = {"Retry-After": f"{fault.wait:g}"} if fault.wait else {}
                body = fault.body or json.dumps(_body(word, asked.path, until))
                self.send(int(word), body.encode(), wait)
                return
            reply = server.reply(asked, self.headers)
            _spoil(reply, word)
            body = json.dumps(reply.payload).encode()
            if word == "malformed":
                body = body[: len(body) // 2]
            self.send(reply.status, body, {}, cut=word == "drop")

        def send(self, status: int, body: bytes, extra: dict[str, str], cut: bool = False) -> None:
            self.send_response_only(status)
            self.send_header("Date", formatdate(server.truth.now / 1000, usegmt=True))
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            for name, value in extra.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body[: len(body) // 2] if cut else body)
            self.wfile.flush()
            if cut:
                self.close_connection = True

    return Handler
