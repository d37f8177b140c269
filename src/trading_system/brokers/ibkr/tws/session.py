"""TWS's socket, sans-IO: hello, who we are, and from then on messages both ways. ib_async writes ours and reads theirs; what it keeps is not used.

Its client and its decoder stand here without its socket, its clock and its picture of the orders: an error that it does not know ends an order there.
"""

from collections.abc import Callable, Mapping
from datetime import UTC
from types import SimpleNamespace
from typing import Any, NamedTuple

from ib_async.client import Client
from ib_async.decoder import Decoder

from trading_system.brokers.ibkr.errors import CLIENT_TAKEN, said
from trading_system.brokers.ibkr.facts import STALE_AFTER_NS
from trading_system.brokers.ibkr.wire import CLIENT_VERSIONS, PREAMBLE, SERVER_VERSION, split
from trading_system.transport.session import Broken, Step, StreamRefused

_UNREADABLE = (ValueError, IndexError, KeyError, TypeError, AttributeError, StopIteration, OverflowError)
_KINDS: Mapping[type, Callable[[str], object]] = {str: str, int: lambda text: int(text or 0), bool: lambda text: bool(int(text or 0))}


class Heard(NamedTuple):
    """One message of TWS's: its name in TWS's own interface, and what it says."""

    name: str
    args: tuple[Any, ...]


def _as_others(message: Heard) -> Heard:
    """What is said of a bond comes as a message of its own, and calls it by its issuer."""
    if message.name != "bondContractDetails":
        return message
    number, details = message.args
    details.contract.symbol = details.cusip
    return Heard("contractDetails", (number, details))


_COUPON = 5  # its place in what is said of a bond


class _Ears:
    """Whatever the decoder calls is a message."""

    defaultTimezone = UTC  # noqa: N815 ib_async's names
    ib = SimpleNamespace(TimezoneTWS="UTC")  # times without a zone are UTC: TWS is to be set so

    def __init__(self) -> None:
        self.heard: list[Heard] = []

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *args: self.heard.append(Heard(name, args))


class _Strict(Decoder):
    """ib_async's decoder, whose errors are not swallowed."""

    def interpret(self, fields: list[str]) -> None:
        """A kind of message that nobody knows says nothing to us; new ones come with new versions."""
        handler = self.handlers.get(int(fields[0]))
        if handler is not None:
            handler(fields)

    def bondContractDetails(self, fields: list[str]) -> None:  # noqa: N802 ib_async's name
        """Without the coupon, which ib_async takes for a whole number."""
        super().bondContractDetails([*fields[:_COUPON], "", *fields[_COUPON + 1 :]])  # type: ignore[no-untyped-call]

    def wrap(self, methodName: str, types: list[type], skip: int = 2) -> Callable[[list[str]], None]:  # noqa: N803 ib_async's names
        """A message whose fields are numbers and words in a row."""

        def handler(fields: list[str]) -> None:
            rest = fields[skip:]
            if len(rest) < len(types):
                raise ValueError(f"{len(fields)} fields are too few")
            args = [_KINDS[kind](text) if kind in _KINDS else kind(text or 0) for kind, text in zip(types, rest, strict=False)]
            getattr(self.wrapper, methodName)(*args)

        return handler


class Mouth(Client):
    """ib_async's client, whose messages are taken away instead of sent."""

    def __init__(self) -> None:
        super().__init__(SimpleNamespace())  # type: ignore[no-untyped-call]
        self.connState = Client.CONNECTED
        self._serverVersion = SERVER_VERSION
        self._said: list[bytes] = []

    def sendMsg(self, msg: str) -> None:  # noqa: N802 ib_async's name
        self._said.append(msg.encode("ascii", "backslashreplace"))

    def take(self) -> tuple[bytes, ...]:
        """What was said since the last time."""
        said_, self._said = tuple(self._said), []
        return said_


class TwsSession:
    """One connection after the other. `accounts` and `next_id` are what TWS said at the last hello."""

    def __init__(self, url: str, client_id: int) -> None:
        self._url = url
        self._client_id = client_id
        self._ears = _Ears()
        self._decoder = _Strict(self._ears, SERVER_VERSION)  # type: ignore[arg-type]  # whatever it calls, the ears take
        self._greeted = False
        self.accounts: tuple[str, ...] = ()
        self.next_id = 0

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url, {}

    def on_open(self, now_ns: int) -> Step:
        """The version range first; without it TWS says nothing."""
        self._greeted, self.accounts, self.next_id = False, (), 0
        self._ears.heard.clear()
        return Step(send=(PREAMBLE.decode(), CLIENT_VERSIONS.encode()))

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Ready is who has heard both the accounts and the next id. Raises Broken: bytes that are no message, or a client id that is taken.
        StreamRefused: a TWS that is too old."""
        try:
            fields = split(frame)
            if not self._greeted:
                return self._hello(fields)
            self._decoder.interpret(fields)
        except _UNREADABLE as error:
            raise Broken(f"TWS sent what is no message ({error}): {frame[:80]!r}") from None
        heard, self._ears.heard = tuple(map(_as_others, self._ears.heard)), []
        before = bool(self.accounts and self.next_id)
        for message in heard:
            self._look(message)
        return Step(events=heard, ready=not before and bool(self.accounts and self.next_id), alive=True)

    def _hello(self, fields: list[str]) -> Step:
        version, _ = fields
        if int(version) < SERVER_VERSION:
            raise StreamRefused(f"this TWS speaks version {version} of its API, and {SERVER_VERSION} is needed: update TWS or IB Gateway")
        self._greeted = True
        mouth = Mouth()
        mouth.clientId = self._client_id
        mouth.startApi()
        return Step(send=mouth.take(), alive=True)

    def _look(self, message: Heard) -> None:
        match message:
            case Heard("managedAccounts", (str(names),)):
                self.accounts = tuple(name for name in names.split(",") if name)
            case Heard("nextValidId", (int(number),)):
                self.next_id = number
            case Heard("error", (_, code, text, *_)) if code == CLIENT_TAKEN:
                raise Broken(said(code, text))

    def stale_after_ns(self) -> int:
        return STALE_AFTER_NS
