"""What a person should hear of before a rule stops the desk: limits that are nearly used up, streams that are lost, alerts that nobody has seen on
paper. And once a day, how it went. What it says becomes an alert in the journal; app/alerts.py carries it to a person."""

from decimal import Decimal

from trading_system.app.desk import Desk
from trading_system.app.links import Stream
from trading_system.app.portfolio import used
from trading_system.app.recover import UNSEEN_NS
from trading_system.app.state import holdings
from trading_system.core.ledger import NS_PER_DAY, EquityMark
from trading_system.core.lifecycle import Applied
from trading_system.domain.money import ZERO, plain
from trading_system.domain.times import rfc3339
from trading_system.journal.record import HaltSet, Record

SECOND_NS = 1_000_000_000
LOOK_NS = SECOND_NS
NEAR = Decimal("0.8")  # of a limit: a person hears of it
CLEAR = Decimal("0.7")  # and again only after it has been below this
LOST_NS = 5 * SECOND_NS  # a stream that reconnects at once is nobody's business
_CENT, _TENTH = Decimal("0.01"), Decimal("0.1")


class Lookout:
    """Looks once a second. summary_ns: when in the UTC day the summary is due, in nanoseconds since midnight; None: never."""

    def __init__(self, desk: Desk, summary_ns: int | None) -> None:
        self._desk = desk
        self._near: set[str] = set()
        self._gone: dict[Stream, int] = {}  # lost streams, and since when by the clock that does not step
        self._told: dict[Stream, int] = {}  # those that a person has heard of
        self._unseen_ns = desk.clock.now_ns() - UNSEEN_NS  # critical alerts up to then have been told of
        self._halts: list[int] = []  # when each was set, today
        self._summary_ns = summary_ns
        self._due_ns = 0 if summary_ns is None else _next(summary_ns, desk.clock.now_ns())

    async def run(self) -> None:
        while True:
            self.look()
            await self._desk.clock.sleep_ns(LOOK_NS)

    def look(self) -> None:
        self._limits()
        self._streams()
        self._unseen()
        now_ns = self._desk.clock.now_ns()
        if self._summary_ns is not None and now_ns >= self._due_ns:
            self._due_ns = _next(self._summary_ns, now_ns)
            self._desk.alert("info", summary(self._desk, sum(1 for at_ns in self._halts if at_ns // NS_PER_DAY == now_ns // NS_PER_DAY)))

    def on_record(self, record: Record, _: Applied | None) -> None:
        if isinstance(record, HaltSet):
            self._halts = [at_ns for at_ns in self._halts if at_ns // NS_PER_DAY == record.halt.set_ns // NS_PER_DAY] + [record.halt.set_ns]

    def _limits(self) -> None:
        desk = self._desk
        if desk.books.mark is None:
            return
        found = used(desk.limits, desk.books.mark, holdings(desk))
        self._near &= {name for name, share in found.items() if share > CLEAR}
        for name, share in found.items():
            if share >= NEAR and name not in self._near:
                self._near.add(name)
                desk.alert("warning", f"{(100 * share).quantize(_TENTH)} % of {name} is used")

    def _streams(self) -> None:
        desk, now_ns = self._desk, self._desk.clock.monotonic_ns()
        known = desk.hub.links.all()
        lost = {stream: heard for stream, heard in known.items() if heard.lost}
        for stream in [stream for stream in self._gone if stream not in lost]:
            since_ns = self._gone.pop(stream)
            if self._told.pop(stream, None) is not None and stream in known:  # else nobody reads it any more
                desk.alert("info", f"{stream[0]}: the stream of {stream[1]} is back after {(now_ns - since_ns) // SECOND_NS} s")
        for stream, heard in lost.items():
            since_ns = self._gone.setdefault(stream, now_ns)
            if now_ns - since_ns >= LOST_NS and stream not in self._told:
                self._told[stream] = now_ns
                desk.alert("warning", f"{stream[0]}: the stream of {stream[1]} is lost for {LOST_NS // SECOND_NS} s ({heard.link} {heard.text})")

    def _unseen(self) -> None:
        """Paper hears what live would do (recover.py does it there)."""
        desk, now_ns = self._desk, self._desk.clock.now_ns()
        if desk.environment == "live":
            return
        late = [(text, at_ns) for text, at_ns in desk.books.critical() if self._unseen_ns < at_ns <= now_ns - UNSEEN_NS]
        if late:
            self._unseen_ns = max(at_ns for _, at_ns in late)
            said = f"nobody has acknowledged for {UNSEEN_NS // SECOND_NS} s: {late[0][0]}"
            desk.alert("warning", f"{said}; on a live desk new risk would stop now (`trading alerts --ack all`)")


def summary(desk: Desk, halts: int) -> str:
    """The UTC day so far. halts: how many were set in it while this desk ran."""
    now_ns, books = desk.clock.now_ns(), desk.books
    start_ns = now_ns - now_ns % NS_PER_DAY
    fills = [fill for order in books.blotter for fill in order.fills if fill.transact_ns >= start_ns]
    fees: dict[str, Decimal] = {}
    for fill in fills:
        if fill.fee:
            fees[fill.fee_currency] = fees.get(fill.fee_currency, ZERO) + fill.fee
    decided = [decision for decision in books.decisions.values() if decision.now_ns >= start_ns]
    in_force = ", ".join(f"{halt.scope} ({' + '.join(halt.rules)})" for halt in books.halts.values())
    parts = [
        _equity(books.mark, desk.base_currency),
        f"{len(fills)} trades, fees {' + '.join(f'{plain(fee)} {currency}' for currency, fee in sorted(fees.items())) or 'none'}",
        f"{halts} halts{f', in force: {in_force}' if in_force else ', none in force'}",
        f"{len(decided)} decisions, {sum(decision.taken for decision in decided)} taken",
        f"{len(books.in_doubt())} orders in doubt, {len(books.alerts)} alerts wait to be acknowledged",
    ]
    return f"summary of {rfc3339(now_ns)[:10]}, {desk.environment}: {'; '.join(parts)}"


def _equity(mark: EquityMark | None, currency: str) -> str:
    if mark is None:
        return "equity is not known"
    made = mark.equity - mark.day_start
    share = f" ({100 * made / mark.day_start:+.2f} %)" if mark.day_start > 0 else ""
    return f"equity {mark.equity.quantize(_CENT):,} {currency}, the day {made.quantize(_CENT):+,}{share}"


def _next(time_of_day_ns: int, now_ns: int) -> int:
    today_ns = now_ns - now_ns % NS_PER_DAY + time_of_day_ns
    return today_ns if today_ns > now_ns else today_ns + NS_PER_DAY
