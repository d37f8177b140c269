"""The twin's news: headlines about what it lists, invented from the seed and marked so, by REST and as a stream. Sans-IO."""

from collections.abc import Iterator, Mapping
from random import Random

import msgspec

from trading_system.brokers.alpaca import facts, wire
from trading_system.brokers.alpaca.twin.forms import JSON, Place, Refusal, answer, choice, from_token, number, parse_time, to_token
from trading_system.brokers.alpaca.twin.streams import Send, read_frame
from trading_system.sim.sessions import DAY_NS, MINUTE_NS, SECOND_NS, iso
from trading_system.transport.message import Response

PATH = "/v1beta1/news"
SLOT_NS = MINUTE_NS  # one article falls into each
PAST_NS = 3 * DAY_NS  # how far back it looks when nobody says from when
SLOTS_MAX = 5_000  # looked at for one page
PAGE_MAX = 50
_FIRST_ID = 24_000_000
_TEMPLATES = (
    ("{name} Beats What Nobody Had Expected", "The quarter of {name} was better than a number that was made up for it."),
    ("{name} Falls Short of an Invented Estimate", "A number that was made up for {name} turned out to be too high."),
    ("Analyst Who Does Not Exist Raises {name}", "The target for {symbol} is now higher than it was, said somebody who is not there."),
    ("{name} Says It Has Nothing to Say", "Asked about its plans, {name} pointed to its earlier statements, of which there are none."),
    ("Trading in {symbol} Calm, and Then Less So", "The twin's dice fell unevenly for {symbol} this session."),
    ("{name} and {other} Deny Talks They Never Had", "Both {name} and {other} are part of a simulation and do not talk."),
)


class News:
    """An article a slot, the same for ever: what is asked again is answered again."""

    def __init__(self, names: Mapping[str, str], seed: int) -> None:
        """names: by symbol, as listed."""
        self._names = dict(sorted(names.items()))
        self._seed = seed

    def article(self, slot: int) -> wire.NewsArticle:
        rng = Random(f"news {self._seed} {slot}")  # noqa: S311 a simulation's chance
        symbol, other = rng.sample(list(self._names), 2)
        headline, summary = rng.choice(_TEMPLATES)
        words = {"symbol": symbol, "name": self._names[symbol], "other": self._names[other]}
        about = [symbol, other] if "{other}" in headline else [symbol]
        created = iso(self.time_ns(slot))[:19] + "Z"
        text = summary.format(**words)
        return wire.NewsArticle(
            id=_FIRST_ID + slot % 100_000_000,
            headline=f"[Invented] {headline.format(**words)}",
            author="The Twin",
            created_at=created,
            updated_at=created,
            summary=f"Invented for practice: {text}",
            content=f"<p>Invented for practice: {text}</p>",
            url=f"https://example.com/invented/{slot}",
            images=[],
            symbols=[name.replace("/", "") for name in about],
            source="twin",
        )

    def time_ns(self, slot: int) -> int:
        """When the article of a slot appears: in whole seconds, somewhere within it."""
        rng = Random(f"news time {self._seed} {slot}")  # noqa: S311 a simulation's chance
        return slot * SLOT_NS + rng.randrange(SLOT_NS // SECOND_NS) * SECOND_NS

    def next_ns(self, now_ns: int) -> int:
        """When the next article after this instant appears."""
        slot = now_ns // SLOT_NS
        return self.time_ns(slot) if self.time_ns(slot) > now_ns else self.time_ns(slot + 1)

    def between(self, after_ns: int, until_ns: int) -> Iterator[wire.NewsArticle]:
        for slot in range(after_ns // SLOT_NS, until_ns // SLOT_NS + 1):
            if after_ns < self.time_ns(slot) <= until_ns:
                yield self.article(slot)

    def page(self, query: Mapping[str, str], now_ns: int) -> Response:
        """GET /v1beta1/news, content included whether asked for or not: the OpenAPI file has none without. Raises Refusal."""
        end_ns = min(now_ns, parse_time(query["end"], "end")) if query.get("end") else now_ns
        start_ns = parse_time(query["start"], "start") if query.get("start") else end_ns - PAST_NS
        if query.get("end") and query.get("start") and parse_time(query["end"], "end") < start_ns:
            raise Refusal(400, None, "end should not be before start")
        newest_first = choice(query, "sort", "desc", ("asc", "desc")) == "desc"
        limit = number(query, "limit", 10, PAGE_MAX)
        wanted = {name.replace("/", "") for name in query.get("symbols", "").split(",") if name}
        first, last = start_ns // SLOT_NS, end_ns // SLOT_NS
        if query.get("page_token"):
            place = from_token(query["page_token"]).time_ns
            first, last = (first, min(last, place)) if newest_first else (max(first, place), last)
        slots = range(first, last + 1)[:: -1 if newest_first else 1]
        found: list[wire.NewsArticle] = []
        for slot in slots[:SLOTS_MAX]:
            if not start_ns <= self.time_ns(slot) <= end_ns:
                continue
            article = self.article(slot)
            if wanted and not wanted & set(article.symbols):
                continue
            if len(found) == limit:
                return answer(wire.NewsPage(news=found, next_page_token=to_token(Place("", slot))))
            found.append(article)
        token = to_token(Place("", slots[SLOTS_MAX])) if len(slots) > SLOTS_MAX else None
        return answer(wire.NewsPage(news=found, next_page_token=token))


class _Reader(msgspec.Struct):
    msgpack: bool
    deadline_ns: int
    authenticated: bool = False
    symbols: set[str] = set()


class NewsStream:
    """/v1beta1/news: articles as they appear, to whoever subscribed. As everywhere in market data: one connection at a time."""

    def __init__(self, news: News, send: Send, key: str, secret: str, start_ns: int) -> None:
        self.conns: dict[int, _Reader] = {}
        self._news = news
        self._send = send
        self._key, self._secret = key, secret
        self._told_ns = start_ns

    def open(self, conn: int, now_ns: int, *, msgpack: bool) -> None:
        self.conns[conn] = _Reader(msgpack, now_ns + facts.STREAM_LOGIN_NS)
        self._tell(conn, {"T": "success", "msg": "connected"})

    def frame(self, conn: int, frame: str | bytes) -> None:
        reader = self.conns[conn]
        try:
            action = read_frame(frame, wire.DataAction)
        except msgspec.DecodeError:
            self._error(conn, 400, "invalid syntax")
            return
        if action.action == "auth":
            self._auth(conn, reader, action)
        elif not reader.authenticated:
            self._error(conn, 401, "not authenticated")
        elif action.action in ("subscribe", "unsubscribe"):
            named = {name.replace("/", "") for name in action.news}
            reader.symbols = reader.symbols | named if action.action == "subscribe" else reader.symbols - named
            self._tell(conn, {"T": "subscription", "news": sorted(reader.symbols)})
        else:
            self._error(conn, 400, "invalid syntax")

    def _auth(self, conn: int, reader: _Reader, action: wire.DataAction) -> None:
        if reader.authenticated:
            self._error(conn, 403, "already authenticated")
        elif (action.key, action.secret) != (self._key, self._secret):
            self._error(conn, 402, "auth failed")
        elif any(other.authenticated for other in self.conns.values()):
            self._error(conn, 406, "connection limit exceeded")
            self._send(conn, None)
        else:
            reader.authenticated = True
            self._tell(conn, {"T": "success", "msg": "authenticated"})

    def advance(self, now_ns: int) -> None:
        for conn, reader in list(self.conns.items()):
            if not reader.authenticated and reader.deadline_ns <= now_ns:
                self._error(conn, 404, "auth timeout")
                self._send(conn, None)
                reader.deadline_ns = 1 << 63
        readers = [(conn, reader) for conn, reader in self.conns.items() if reader.symbols]
        if readers:
            for article in self._news.between(max(self._told_ns, now_ns - SLOT_NS), now_ns):
                for conn, reader in readers:
                    if "*" in reader.symbols or reader.symbols & set(article.symbols):
                        self._tell(conn, {"T": "n", **msgspec.structs.asdict(article)})
        self._told_ns = now_ns

    def next_event_ns(self) -> int | None:
        times = [reader.deadline_ns for reader in self.conns.values() if not reader.authenticated]
        times += [self._news.next_ns(self._told_ns)] if any(reader.symbols for reader in self.conns.values()) else []
        return min(times, default=None)

    def _error(self, conn: int, code: int, text: str) -> None:
        self._tell(conn, {"T": "error", "code": code, "msg": text})

    def _tell(self, conn: int, message: Mapping[str, object]) -> None:
        if not self.conns[conn].msgpack:
            self._send(conn, JSON.encode([message]).decode())
            return
        packed = {name: _timestamp(value) if name in ("created_at", "updated_at") else value for name, value in message.items()}
        self._send(conn, msgspec.msgpack.encode([packed]))


def _timestamp(text: object) -> msgspec.msgpack.Ext:
    """msgpack's Timestamp extension, 32 bits: whole seconds."""
    return msgspec.msgpack.Ext(-1, (parse_time(str(text), "time") // SECOND_NS).to_bytes(4, "big"))
