"""Alpaca's news stream, sans-IO: frames in, articles out. Apart from session.py because it has its own path, lists and pace."""

from collections.abc import Iterable, Mapping

import msgspec

from trading_system.brokers.alpaca import codec, wire
from trading_system.brokers.alpaca.auth import data_login
from trading_system.brokers.alpaca.session import stream_error
from trading_system.domain.errors import ProtocolError
from trading_system.domain.news import NewsItem
from trading_system.settings.secret import Secret
from trading_system.transport.session import Step


class NewsSession:
    """Articles about some symbols, or about all.

    Source: docs.alpaca.markets/docs/streaming-real-time-news
    """

    def __init__(self, url: str, key: Secret, secret: Secret, symbols: Iterable[str]) -> None:
        """symbols: none means all."""
        self._url, self._key, self._secret = url, key, secret
        self._symbols = tuple(symbols) or ("*",)

    def endpoint(self) -> tuple[str, Mapping[str, str]]:
        return self._url, {}

    def on_open(self, now_ns: int) -> Step:
        """The server speaks first."""
        return Step()

    def on_frame(self, frame: bytes, now_ns: int) -> Step:
        """Raises ProtocolError: a frame we cannot read. StreamRefused: a key that will not do. Broken: not now."""
        items: list[NewsItem] = []
        send: list[str] = []
        ready = False
        try:
            messages = wire.data_messages(frame)
        except wire.UNREADABLE as error:
            raise ProtocolError(f"news that cannot be read ({error})", frame) from None
        for message in messages:
            match message:
                case wire.SuccessMsg(msg="connected"):
                    send.append(data_login(self._key, self._secret))
                case wire.SuccessMsg(msg="authenticated"):
                    send.append(msgspec.json.encode(wire.DataAction(action="subscribe", news=self._symbols)).decode())
                case wire.SubscriptionMsg():
                    ready = True
                case wire.ErrorMsg(code=code, msg=text):
                    raise stream_error(code, text)
                case wire.NewsMsg():
                    items.append(codec.decode_news(message))
                case _:
                    pass  # kinds that were not asked for
        return Step(events=tuple(items), send=tuple(send), ready=ready)

    def stale_after_ns(self) -> int:
        """No news may be no news: silence is no sign."""
        return 0
