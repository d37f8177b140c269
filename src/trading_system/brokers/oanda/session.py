"""OANDA's two streams, sans-IO: the account's transactions and prices. Lines in, events out; nothing is ever sent."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

import msgspec

from trading_system.brokers.oanda import auth, codec, wire
from trading_system.brokers.oanda.facts import KEY_HELP, NAME, STALE_AFTER_NS
from trading_system.domain.errors import ProtocolError
from trading_system.domain.ids import InstrumentID
from trading_system.domain.ports import Link, StreamState
from trading_system.settings.secret import Secret
from trading_system.transport import strict
from trading_system.transport.events import LINES_TYPE
from trading_system.transport.session import Step, StreamRefused
from trading_system.transport.supervise import LinkEvent, LinkKind

HEARTBEAT = "HEARTBEAT"
_LINK = {LinkKind.UP: Link.LIVE, LinkKind.DOWN: Link.GAP, LinkKind.STALE: Link.STALE, LinkKind.REFUSED: Link.REFUSED}
_PRICE = msgspec.json.Decoder(wire.Price)


class Behind(msgspec.Struct, frozen=True):
    """Transactions are missing: they have to be asked for, from the last one that was seen."""


class _Session:
    """What both streams have in common: the answer's head is the login, heartbeats fill every silence."""

    def __init__(self, url: str, token: Secret) -> None:
        self._url = url
        self._token = token

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url, {**auth.headers(self._token), "Accept": LINES_TYPE}

    def on_open(self, now_ns: int) -> Step:
        return Step(ready=True)

    def on_refused(self, status: int, body: bytes) -> None:
        """Raises StreamRefused: a token, an account or an instrument that will not do."""
        if status in (400, 401, 403, 404):
            raise StreamRefused(f"OANDA's stream refuses with HTTP {status}: {body[:200].decode('utf-8', 'replace')} {KEY_HELP}")

    def stale_after_ns(self) -> int:
        return STALE_AFTER_NS


class TransactionsSession(_Session):
    """The account's log as it grows. Ids rise by one: a line that is missing shows with the next one, or with the heartbeat, which names the last.

    Source: developer.oanda.com/rest-live-v20/transaction-ep (stream)
    """

    def __init__(self, url: str, token: Secret, account_id: str, seen: int) -> None:
        """seen: the last transaction that is known already."""
        super().__init__(f"{url}/v3/accounts/{account_id}/transactions/stream", token)
        self.seen = seen

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a line we cannot read."""
        try:
            head = strict.decode(frame, wire.StreamLine)
            if head.type == HEARTBEAT:
                return Step(events=(Behind(),) if _id(head.lastTransactionID, frame) > self.seen else (), alive=True)
            transaction = msgspec.json.decode(frame, type=wire.Transaction)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"a transaction that cannot be read ({error})", frame) from None
        number = _id(transaction.id, frame)
        if number <= self.seen:
            return Step(alive=True)
        if number > self.seen + 1:
            return Step(events=(Behind(),))
        self.seen = number
        return Step(events=(transaction,))


class PricesSession(_Session):
    """Prices of some instruments, at most four a second of each; those that do not change are not told again.

    Source: developer.oanda.com/rest-live-v20/pricing-ep (stream)
    """

    def __init__(self, url: str, token: Secret, account_id: str, instruments: Sequence[InstrumentID]) -> None:
        query = urlencode({"instruments": ",".join(map(codec.symbol_of, instruments)), "snapshot": "true"})
        super().__init__(f"{url}/v3/accounts/{account_id}/pricing/stream?{query}", token)

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a line we cannot read."""
        try:
            price = _PRICE.decode(frame)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"a price that cannot be read ({error})", frame) from None
        if price.type == HEARTBEAT:
            return Step(alive=True)
        return Step(events=(codec.decode_quote(price, now_ns),))


def _id(text: str, frame: bytes) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ProtocolError("a transaction without a number", frame)
    return int(text)


def stream_state(event: LinkEvent, stream: str, recv_ns: int) -> StreamState:
    """A change of the line itself, as the desk takes it."""
    return StreamState(broker=NAME, stream=stream, link=_LINK[event.kind], text=event.text, recv_ns=recv_ns)
