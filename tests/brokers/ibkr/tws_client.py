"""A TWS one can talk to in tests: messages at a time of the test's choosing, no sockets, and fields instead of bytes."""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from trading_system.brokers.ibkr.twin import TwsTwin
from trading_system.brokers.ibkr.wire import Asks, Tells, Value, join, split
from trading_system.sim.clock import SECOND_NS, START_NS
from trading_system.sim.exchange import NO_LATENCY

AAPL: Sequence[Value] = (265598, "AAPL", "STK", "", 0, "", "", "SMART", "", "USD", "", "")


class Tws:
    """One twin, and clients of it by number."""

    def __init__(self, **changes: Any) -> None:
        self.twin = TwsTwin(**({"seed": 5, "start_ns": START_NS, "latency": NO_LATENCY} | changes))
        self.now_ns = START_NS
        self.conns: dict[int, int] = {}
        self.said: dict[int, list[list[str]]] = {}
        self.closed: list[int] = []

    def connect(self, client_id: int = 1) -> list[list[str]]:
        """What a client hears when it comes in."""
        conn = self.twin.open("", {}, self.now_ns)
        assert isinstance(conn, int)
        self.conns[client_id] = conn
        for frame in ("API\0", b"v157..178", join(Asks.START, 2, client_id, "")):
            self.twin.frame(conn, frame, self.now_ns)
        return self._heard(client_id)[1:]  # after the hello itself

    def say(self, *fields: Value, client_id: int = 1) -> list[list[str]]:
        """What comes back at once."""
        self.twin.frame(self.conns[client_id], join(*fields), self.now_ns)
        return self._heard(client_id)

    def wait(self, seconds: int, client_id: int = 1) -> list[list[str]]:
        """What comes by itself."""
        for _ in range(seconds):
            self.now_ns += SECOND_NS
            self.twin.advance(self.now_ns)
        return self._heard(client_id)

    def _heard(self, client_id: int) -> list[list[str]]:
        for conn, frame in self.twin.drain():
            if frame is None:
                self.closed.append(conn)
            else:
                self.said.setdefault(conn, []).append(split(frame if isinstance(frame, bytes) else frame.encode()))
        return self.said.pop(self.conns[client_id], [])

    def place(
        self,
        number: int,
        action: str = "BUY",
        qty: str = "1",
        kind: str = "MKT",
        client_id: int = 1,
        legs: Sequence[Sequence[Value]] | None = None,
        **fields: Value,
    ) -> list[list[str]]:
        """An order, in 114 fields. fields: by place, as f19="200". legs: of a BAG, eight fields each."""
        order: list[Value] = [
            Asks.PLACE_ORDER,
            number,
            *AAPL,
            "",
            "",
            action,
            qty,
            kind,
            "",
            "",
            "DAY",
            "",
            self.twin.account,
            "O",
            0,
            f"ref-{number}",
            1,
            0,
        ]
        order += [""] * (114 - len(order))
        order[45], order[81], order[84], order[89], order[93] = -1, 0, 0, 0, ""
        for name, value in fields.items():
            order[int(name[1:])] = value
        if legs is not None:
            order[35:35] = [len(legs), *(field for leg in legs for field in leg), 0, 0]
        return self.say(*order, client_id=client_id)

    def price(self, fraction: str = "1") -> Decimal:
        """So much of the middle of the market."""
        return (self.twin.exchange.mark("AAPL", self.now_ns) * Decimal(fraction)).quantize(Decimal("0.01"))


def kinds(heard: Sequence[Sequence[str]]) -> list[Tells]:
    return [Tells(int(fields[0])) for fields in heard]


def errors(heard: Sequence[Sequence[str]]) -> list[tuple[int, int]]:
    """Number and code of every error."""
    return [(int(fields[2]), int(fields[3])) for fields in heard if fields[0] == "4"]
