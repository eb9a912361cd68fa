"""Venues on loopback: the websockets and the few REST answers that the recorder needs, and every way to fail.

One server is all venues. The recorder reaches it through a gateway address, so the first part of a path is the host
that ccxt meant, and everything behind it is as ccxt made it. `push` sends liquidations as the venue would and writes
down who could have heard them; the rest of the methods are faults. All methods are for the test's thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import WSMsgType, web
from venue_streams import rest, wire
from venue_streams.wire import Truth

PULSE_S = 0.1


@dataclass(eq=False)
class Line:
    """One connection of a client, and what it has subscribed to."""

    venue: str
    socket: web.WebSocketResponse
    topics: list[str] = field(default_factory=list)
    deaf: bool = False  # nothing is sent on this one

    @property
    def hears_liquidations(self) -> bool:
        return any("forceOrder" in t or t.startswith(("allLiquidation", "liquidation-orders")) for t in self.topics)


class Venues:
    """`with Venues() as v: ... v.url` is the gateway."""

    def __init__(self, port: int = 0) -> None:
        self.port = port
        self.lines: list[Line] = []
        self.sent: list[Truth] = []  # a subscribed connection was open when these went out
        self.unheard: list[Truth] = []  # nobody was listening
        self.connections: Counter[str] = Counter()
        self.requests: Counter[str] = Counter()
        self.subscriptions: list[tuple[str, list[str]]] = []
        self.headers: list[dict[str, str]] = []
        self.refuse_subscriptions: dict[str, int] = {}  # so many of a venue are answered with its error
        self.refuse_handshakes = 0
        self.refuse_requests = 0  # so many REST requests get 503
        self.refused_contracts: set[str] = set()  # REST requests for one of these get the venue's error
        self.strange: set[str] = set()  # hosts that answer with a form of their own
        self.mute = False  # answers nothing, sends nothing: a stalled peer
        self.deaf_pulse = False  # pings are answered, but nothing is sent
        self.snapshots = {(v, c): wire.Snapshot() for v in rest.VENUES for c in wire.COINS}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._ready = threading.Event()
        self._runner: web.AppRunner | None = None

    # ---- life --------------------------------------------------------------------------------------------------------

    def __enter__(self) -> Venues:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        if not self._loop.is_closed():
            self.close()

    def close(self) -> None:
        """Be gone, as a venue that restarts is."""
        self.do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._open())
        self._ready.set()
        self._loop.run_forever()

    async def _open(self) -> None:
        app = web.Application()
        app.router.add_route("*", "/{tail:.*}", self._any)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", self.port, reuse_address=True)
        await site.start()
        self.port = site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self._beating = asyncio.ensure_future(self._beat())

    async def _close(self) -> None:
        self._beating.cancel()
        for line in list(self.lines):
            _abort(line)
        if self._runner is not None:
            await self._runner.cleanup()

    def do(self, job: Awaitable[Any]) -> Any:
        """Run something in the server's thread, and wait for it."""
        return asyncio.run_coroutine_threadsafe(_awaited(job), self._loop).result(60)

    # ---- answering ---------------------------------------------------------------------------------------------------

    async def _any(self, request: web.Request) -> web.StreamResponse:
        host, _, path = request.path.lstrip("/").partition("/")
        self.headers.append(dict(request.headers))
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request, _venue_of(host, path))
        self.requests[f"{host}/{path}"] += 1
        if self.refuse_requests > 0:
            self.refuse_requests -= 1
            return web.Response(status=503, text="busy")
        body = await request.json() if request.can_read_body else {}
        if host in self.strange:
            return web.json_response(wire.STRANGE)
        if request.query.get("symbol") in self.refused_contracts:
            return web.json_response({"code": -1121, "msg": "Invalid symbol."}, status=400)
        answer = rest.answer(host, path, dict(request.query) | body, self.snapshots)
        return web.json_response(answer) if answer is not None else web.Response(status=404, text=f"no {host}/{path}")

    async def _socket(self, request: web.Request, venue: str) -> web.StreamResponse:
        self.connections[venue] += 1
        if self.refuse_handshakes > 0:
            self.refuse_handshakes -= 1
            return web.Response(status=503, text="busy")
        socket = web.WebSocketResponse(autoping=False)
        await socket.prepare(request)
        line = Line(venue, socket)
        self.lines.append(line)
        try:
            async for message in socket:
                if self.mute:
                    continue
                if message.type == WSMsgType.PING:
                    await socket.pong(message.data)
                elif message.type == WSMsgType.TEXT:
                    await self._heard(line, message.data)
        finally:
            if line in self.lines:
                self.lines.remove(line)
        return socket

    async def _heard(self, line: Line, data: str) -> None:
        if data == "ping":  # OKX
            await line.socket.send_str("pong")
            return
        message = json.loads(data)
        if message.get("op") == "ping":  # Bybit
            answer = {"success": True, "ret_msg": "pong", "conn_id": "a", "req_id": message["req_id"], "op": "ping"}
            await line.socket.send_json(answer)
            return
        topics = message.get("params") or message.get("args")
        if not topics:
            return
        names = [t if isinstance(t, str) else t["channel"] for t in topics]
        self.subscriptions.append((line.venue, names))
        if self.refuse_subscriptions.get(line.venue, 0) > 0:
            self.refuse_subscriptions[line.venue] -= 1
            await line.socket.send_json(_refusal(line.venue, message))
            return
        line.topics += names
        for answer in _confirmations(line.venue, message):
            await line.socket.send_json(answer)

    async def _beat(self) -> None:
        while True:
            await asyncio.sleep(PULSE_S)
            if not self.mute and not self.deaf_pulse:
                for line in list(self.lines):
                    if line.topics and not line.deaf:
                        await _send(line, wire.pulse(line.venue, int(time.time() * 1000)))

    # ---- what tests do -----------------------------------------------------------------------------------------------

    def wait_for(self, condition: Callable[[], bool], timeout_s: float = 60.0) -> None:
        deadline = time.monotonic() + timeout_s
        while not condition():
            assert time.monotonic() < deadline, "the recorder did not do in time what was expected"
            time.sleep(0.01)

    def wait_for_listeners(self, *venues: str) -> None:
        """Until every one of these has a connection that hears liquidations."""
        self.wait_for(lambda: set(venues) <= {x.venue for x in self.lines if x.hears_liquidations})

    def push(self, events: Sequence[Truth], *, times: int = 1, shape: Callable[[list[Any]], list[Any]] = list) -> None:
        """Send liquidations, all of one venue, to whoever has subscribed. `shape` reorders or cuts the messages."""
        self.do(self._push(list(events), times, shape))

    async def _push(self, events: list[Truth], times: int, shape: Callable[[list[Any]], list[Any]]) -> None:
        venue = events[0].venue
        lines = [x for x in self.lines if x.venue == venue and x.hears_liquidations]
        messages = shape(wire.LIQUIDATIONS[venue](events))
        for message in messages * times:
            for line in lines:
                await _send(line, message)
        (self.sent if lines else self.unheard).extend(events)

    def say(self, venue: str, text: str) -> None:
        """Send a text as it is, such as half a message."""

        async def send() -> None:
            for line in [x for x in self.lines if x.venue == venue]:
                await line.socket.send_str(text)

        self.do(send())

    def drop(self, venue: str = "", politely: bool = False) -> None:
        """Lose the connections, by default as a cable does."""

        async def lose() -> None:
            for line in [x for x in self.lines if venue in ("", x.venue)]:
                if politely:
                    await line.socket.close(code=1001)
                else:
                    _abort(line)
                if line in self.lines:
                    self.lines.remove(line)

        self.do(lose())


def _abort(line: Line) -> None:
    transport = line.socket._req.transport if line.socket._req is not None else None  # type: ignore[union-attr]
    if transport is not None:
        transport.abort()


async def _awaited(job: Awaitable[Any]) -> Any:
    return await job


async def _send(line: Line, message: Any) -> None:
    with contextlib.suppress(ConnectionError, RuntimeError):  # it may just have gone
        await line.socket.send_str(json.dumps(message, separators=(",", ":")))


def _venue_of(host: str, path: str) -> str:
    if host.startswith("dstream"):
        return "binance-coinm"
    return next(v for part, v in (("binance", "binance"), ("bybit", "bybit"), ("okx", "okx")) if part in host)


def _confirmations(venue: str, message: Any) -> list[Any]:
    if venue.startswith("binance"):
        return [{"result": None, "id": message["id"]}]
    if venue == "bybit":
        return [{"success": True, "ret_msg": "", "conn_id": "a", "req_id": message["req_id"], "op": "subscribe"}]
    return [{"event": "subscribe", "arg": arg, "connId": "a4d3ae55"} for arg in message["args"]]


def _refusal(venue: str, message: Any) -> Any:
    if venue.startswith("binance"):
        return {"error": {"code": 2, "msg": "Invalid request: invalid stream"}, "id": message["id"]}
    if venue == "bybit":
        text = "error:handler not found"
        return {"success": False, "ret_msg": text, "conn_id": "a", "req_id": message["req_id"], "op": "subscribe"}
    return {"event": "error", "code": "60012", "msg": "Invalid request", "connId": "a4d3ae55"}
