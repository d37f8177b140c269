"""What stands between connector and twin: it counts what is asked, and changes what is answered."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import msgspec

from tests.desks import Bench, on_bench
from tests.subjects import Subject
from trading_system.domain.fix import OrdType, Side, TimeInForce
from trading_system.domain.ids import IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.order import Fill, NewOrder
from trading_system.sim.wire import Wire
from trading_system.transport.message import Request, Response

Mangle = Callable[[bytes], bytes]


class Between:
    """A Wire around a Wire."""

    def __init__(self, wire: Wire, subject: Subject) -> None:
        self._wire = wire
        self._subject = subject
        self.asked: list[Request] = []  # requests for a change
        self.refused = 0  # answers that the budget is spent
        self.answers: Mangle = bytes
        self.frames: Mangle = bytes

    def handle(self, request: Request, now_ns: int) -> Response:
        if self._subject.changes(request):
            self.asked.append(request)
        response = self._wire.handle(request, now_ns)
        self.refused += response.status in (429, 418)
        return msgspec.structs.replace(response, body=self.answers(response.body))

    def busy(self) -> Response:
        return self._wire.busy()

    def open(self, path: str, headers: Mapping[str, str], now_ns: int) -> int | Response:
        return self._wire.open(path, headers, now_ns)

    def frame(self, conn: int, frame: str | bytes, now_ns: int) -> None:
        request = Request(method="", url="", body=frame.encode() if isinstance(frame, str) else frame)
        if self._subject.changes(request):
            self.asked.append(request)
        self._wire.frame(conn, frame, now_ns)

    def closed(self, conn: int) -> None:
        self._wire.closed(conn)

    def advance(self, now_ns: int) -> None:
        self._wire.advance(now_ns)

    def next_event_ns(self) -> int | None:
        return self._wire.next_event_ns()

    def drain(self) -> list[tuple[int, str | bytes | None]]:
        return [(conn, frame if frame is None else self._mangled(frame)) for conn, frame in self._wire.drain()]

    def _mangled(self, frame: str | bytes) -> bytes:
        raw = frame.encode() if isinstance(frame, str) else frame
        return (self.answers if self._subject.replies(raw) else self.frames)(raw)  # what comes out may be no text

    @property
    def placed(self) -> int:
        return sum(1 for request in self.asked if self._subject.places(request))


Story = Callable[[Bench, Between], Awaitable[None]]


def conform(tmp_path: Path, subject: Subject, story: Story, **twin: Any) -> None:
    """Run a story on a broker's twin."""
    held: list[Between] = []

    def between(wire: Wire) -> Wire:
        held.append(Between(wire, subject))
        return held[0]

    async def main(bench: Bench) -> None:
        await story(bench, held[0])

    on_bench(tmp_path, main, subject=subject, between=between, **twin)


def order(subject: Subject, asset_class: AssetClass, intent: str, qty: str = "1", side: Side = Side.BUY, **changes: Any) -> NewOrder:
    """A market order in the first TIF that the broker takes for it, changed as named."""
    tifs = [line.times_in_force for line in subject.facts.rules if line.asset_class is asset_class and OrdType.MARKET in line.ord_types]
    tif = next(tif for tif in TimeInForce if any(tif in group for group in tifs))
    fields: dict[str, Any] = {"broker": subject.broker, "instrument": subject.instruments[asset_class], "side": side, "time_in_force": tif}
    return NewOrder(**({"order_qty": Decimal(qty), "intent": IntentID(intent)} | fields | changes))


_RECORD = re.compile(rb'\{(?="[a-z][a-zA-Z_]+":)')  # an object whose first field has a broker's name, not a map of symbols


def new_fields(body: bytes) -> bytes:
    """Every object with a field more, as brokers add them every month."""
    return _RECORD.sub(b'{"added_in_december":{"a":[1,null,"x"]},', body)


def parts(subject: Subject, fills: Mapping[str, Decimal]) -> dict[str, Decimal]:
    """Quantities by execution; where the broker names none, by order."""
    if subject.names_fills:
        return dict(fills)
    found: dict[str, Decimal] = {}
    for name, qty in fills.items():
        order_id = name.rpartition("-")[0]
        found[order_id] = found.get(order_id, Decimal(0)) + qty
    return found


def booked(bench: Bench, fills: Iterable[Fill]) -> bool:
    """Whether these fills are what the twin has executed, each once."""
    ours = [(str(fill.exec_id), fill.qty) for fill in fills]
    theirs = {name: execution.qty for name, execution in bench.twin.exchange.executions.items()}
    return len(dict(ours)) == len(ours) and parts(bench.subject, dict(ours)) == parts(bench.subject, theirs)


_TEXT = re.compile(rb'"[a-zA-Z_]+":"[^"]*"')


def doubled_fields(body: bytes) -> bytes:
    """Every field that holds text twice, the same both times."""
    return _TEXT.sub(rb"\g<0>,\g<0>", body)
