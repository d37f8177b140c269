"""Who is let in: signatures, the time window, and how often. The twin's own reading of the documents, none of the connector's."""

import hashlib
import hmac
from collections import deque
from collections.abc import Mapping
from fractions import Fraction

from trading_system.brokers.bybit import facts
from trading_system.brokers.bybit.twin.forms import MS, Refusal, too_many
from trading_system.sim.sessions import SECOND_NS
from trading_system.transport.message import Request


class Windows:
    """Each endpoint's requests in the last second, as the headers tell. A twin that lets so many times Bybit's number of requests through in a minute
    does so in a second, too; it may be fewer."""

    def __init__(self, requests_per_minute: int) -> None:
        self._times = Fraction(requests_per_minute, facts.REQUESTS_PER_MINUTE)
        if self._times > 1:
            self._times = Fraction(int(self._times))
        self._recent: dict[str, deque[int]] = {}

    def take(self, path: str, now_ns: int) -> tuple[bool, Mapping[str, str]]:
        """Whether the request may pass, and the three headers; of market data there are none."""
        if path not in facts.PER_SECOND:
            return True, {}
        most = max(1, int(facts.PER_SECOND[path] * self._times))
        recent = self._recent.setdefault(path, deque())
        while recent and recent[0] <= now_ns - SECOND_NS:
            recent.popleft()
        allowed = len(recent) < most
        if allowed:
            recent.append(now_ns)
        return allowed, _headers(most, most - len(recent), recent[0] + SECOND_NS)


class Address:
    """All requests of one address in the last five seconds. Whoever asks more often is not answered for ten minutes, and no header has warned it."""

    def __init__(self, requests_per_minute: int) -> None:
        self._most = facts.REQUESTS_MAX * max(1, requests_per_minute // facts.REQUESTS_PER_MINUTE)
        self._recent: deque[int] = deque()
        self._shut_until_ns = 0

    def take(self, now_ns: int) -> bool:
        """Whether the request is looked at."""
        while self._recent and self._recent[0] <= now_ns - facts.WINDOW_NS:
            self._recent.popleft()
        if now_ns >= self._shut_until_ns and len(self._recent) >= self._most:
            self._shut_until_ns = now_ns + facts.BANNED_NS
        if now_ns < self._shut_until_ns:
            return False
        self._recent.append(now_ns)
        return True


def _headers(limit: int, left: int, reset_ns: int) -> Mapping[str, str]:
    return {
        facts.LIMIT_HEADER.lower(): str(limit),
        facts.LEFT_HEADER.lower(): str(left),
        facts.RESET_HEADER.lower(): str(reset_ns // MS),
    }


class Gate:
    """One key. Market data needs none."""

    def __init__(self, key: str, secret: str, requests_per_minute: int) -> None:
        self._key, self._secret = key, secret.encode()
        self._windows = Windows(requests_per_minute)
        self.address = Address(requests_per_minute)

    def pass_by(self, path: str, now_ns: int) -> Mapping[str, str]:
        """Count a request; the headers of its answer. Raises Refusal 10006, with the headers in it."""
        allowed, headers = self._windows.take(path, now_ns)
        if not allowed:
            raise Crowded(headers)
        return headers

    def check(self, request: Request, query: str, now_ns: int) -> None:
        """Raises Refusal: headers missing, another key, a time outside the window, a signature that does not fit."""
        given = {name.lower(): value for name, value in request.headers.items()}
        names = (facts.KEY_HEADER, facts.TIME_HEADER, facts.SIGN_HEADER)
        key, time, signature = (given.get(name.lower(), "") for name in names)
        window = given.get(facts.WINDOW_HEADER.lower(), str(facts.RECV_WINDOW_MS))
        if not (key and time and signature):
            raise Refusal(10003, "API key is invalid.", 401)
        if key != self._key:
            raise Refusal(10003, "API key is invalid.")
        self.check_time(time, window, now_ns)
        tail = request.body if request.method == "POST" else query.encode()
        origin = f"{time}{key}{window}".encode() + tail
        if not hmac.compare_digest(self._hmac(origin), signature):
            raise Refusal(10004, f"error sign! origin_string[{origin.decode(errors='replace')}]")

    @staticmethod
    def check_time(time: str, window: str, now_ns: int) -> None:
        """Raises Refusal: too old or too new."""
        now_ms = now_ns // MS
        timely = time.isdecimal() and window.isdecimal() and now_ms - int(window) <= int(time) < now_ms + facts.AHEAD_MS
        if not timely:
            told = f"req_timestamp[{time}],server_timestamp[{now_ms}],recv_window[{window}]"
            raise Refusal(10002, f"invalid request, please check your server timestamp or recv_window param. {told}")

    def check_login(self, args: list[object], now_ns: int) -> str:
        """What is wrong with a WebSocket's login; nothing: "". expires comes as a number or as text."""
        if len(args) != 3 or args[0] != self._key:
            return "Params Error"
        expires = str(args[1])
        if not expires.isdecimal() or int(expires) <= now_ns // MS:
            return "Request not authorized - Expired"
        return "" if hmac.compare_digest(self._hmac(f"GET/realtime{expires}".encode()), str(args[2])) else "Request not authorized"

    def _hmac(self, text: bytes) -> str:
        return hmac.new(self._secret, text, hashlib.sha256).hexdigest()


class Crowded(Refusal):
    """10006, and the headers that say until when."""

    def __init__(self, headers: Mapping[str, str]) -> None:
        super().__init__(too_many().code, too_many().message)
        self.headers = headers
