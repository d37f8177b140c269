"""What a client's words name: contracts found by number, by symbol or by local symbol, with their details, rules and trading hours."""

import calendar
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from trading_system.brokers.ibkr.twin.forms import Refusal, Wanted
from trading_system.brokers.ibkr.twin.universe import LISTED_MONTHS, ROOTS, Line, Root, Universe
from trading_system.domain.option import Contract
from trading_system.sim.market import Listing, Market
from trading_system.sim.options import Chains
from trading_system.sim.sessions import SECOND_NS, Sessions, new_york_day, new_york_offset_ns

HOURS_DAYS = 7
SAMPLES_MAX = 16
MIN_LEGS = 2
BAG_CON_ID = 28812380  # of every combination in dollars
CHICAGO_BEHIND_NS = 3_600 * SECOND_NS  # New York, where futures say their hours
_NOT_FOUND = "No security definition has been found for the request"


class Contracts:
    """The list, and the options on it. week: when futures trade; None: this side of IB has none."""

    def __init__(self, universe: Universe, market: Market, chains: Chains, week: Sessions | None = None) -> None:
        self.universe = universe
        self.chains = chains
        self._market = market
        self._week = week

    def find(self, wanted: Wanted, now_ns: int) -> list[Line]:
        """Every contract that the words fit. Raises Refusal: none."""
        if wanted.sec_type == "BAG":
            raise Refusal(321, "Error validating request.-'bI' : cause - 'BAG' isn't supported for contract data request.")
        if wanted.sec_type == "OPT" and not wanted.con_id:
            found = self._options(wanted, now_ns)
        elif wanted.sec_type == "FUT" and not wanted.con_id:
            found = [line for line in self.futures(now_ns) if _fits(line, wanted) and line.last_trade.startswith(wanted.last_trade)]
        else:
            found = [line for line in self.universe.lines.values() if _fits(line, wanted)]
        if not found:
            raise Refusal(200, _NOT_FOUND)
        return found

    def one(self, wanted: Wanted, now_ns: int) -> Line:
        """The only one. Raises Refusal: none, or several."""
        found = self.find(wanted, now_ns)
        if len(found) > 1:
            raise Refusal(200, "The contract description specified for X is ambiguous.")
        return found[0]

    def by_id(self, con_id: int) -> Line | None:
        return next((line for line in self.universe.lines.values() if line.con_id == con_id), None)

    def _options(self, wanted: Wanted, now_ns: int) -> list[Line]:
        if wanted.local_symbol:
            contract = self.chains.find(wanted.local_symbol.replace(" ", ""), now_ns)
            return [] if contract is None else [self.option(contract)]
        if wanted.symbol not in self.chains.underlyings:
            return []
        return [
            self.option(contract)
            for contract in self.chains.contracts(wanted.symbol, new_york_day(now_ns))
            if f"{contract.expiry:%Y%m%d}".startswith(wanted.last_trade)
            and wanted.strike in (Decimal(0), contract.strike)
            and wanted.right in ("", contract.right.letter)
        ]

    def futures(self, now_ns: int) -> Iterator[Line]:
        """Every future that has not ended, each with a market of its own."""
        for root in ROOTS if self._week is not None else ():
            for ahead in range(LISTED_MONTHS + 1):
                month = (today := new_york_day(now_ns)).month + ahead
                expiry = _third_friday(today.year + (month - 1) // 12, (month - 1) % 12 + 1)
                if expiry.month in root.months:
                    line = self._future(root, expiry, now_ns)
                    if line is not None:
                        yield line

    def _future(self, root: Root, expiry: date, now_ns: int) -> Line | None:
        assert self._week is not None
        while (session := self._week.on(expiry)) is None:
            expiry -= timedelta(days=1)
        if session.close_ns <= now_ns:
            return None
        line = self.universe.future(root, expiry, session.close_ns)
        if line.name not in self._market.listings:
            listing = Listing(
                symbol=line.name,
                price=Decimal(root.price),
                unit=line.min_tick,
                volatility=root.volatility,
                touch=root.touch,
                sessions=self._week,
            )
            self._market.enlist(listing)
        return line

    def leg(self, con_id: int, now_ns: int) -> Line:
        """What a leg of a combination names. Raises Refusal: nothing, or no option that lives."""
        line = self.by_id(con_id)
        if line is None or line.sec_type != "OPT" or self.universe.terms[line.name].expires_ns <= now_ns:
            raise Refusal(200, _NOT_FOUND)
        return line

    def bag(self, wanted: Wanted, legs: Sequence[tuple[int, int, str]]) -> Line:
        """A combination, as IB shows it: by one number for all in a money. What the market knows is its first leg. Raises Refusal."""
        parts = [self.by_id(con_id) for con_id, _, _ in legs]
        if len(parts) < MIN_LEGS or any(part is None or part.symbol != wanted.symbol for part in parts):
            raise Refusal(321, "Error validating request.-'bN' : cause - Security type 'BAG' requires combo leg details.")
        first = parts[0]
        assert first is not None
        return Line(
            name=first.name,
            con_id=BAG_CON_ID,
            symbol=wanted.symbol,
            sec_type="BAG",
            exchange="SMART",
            primary="",
            local_symbol=wanted.symbol,
            trading_class="COMB",
            title="",
        )

    def option(self, contract: Contract) -> Line:
        """An option that trades from now on."""
        self.chains.market_of(contract)
        name = f"{contract.underlying}{contract.expiry:%y%m%d}{contract.right.letter}{int(contract.strike * 1000):08d}"
        return self.universe.option(contract, name, self.chains.expires_ns(contract))

    def samples(self, pattern: str) -> list[Line]:
        """Stocks whose symbol or name begins so."""
        word = pattern.upper()
        found = [line for line in self.universe.lines.values() if line.sec_type == "STK" and (line.symbol.startswith(word) or word in line.title)]
        return found[:SAMPLES_MAX]

    def chain(self, underlying: Line, now_ns: int) -> tuple[list[str], list[Decimal]]:
        """Days and strikes of the options on it."""
        if underlying.symbol not in self.chains.underlyings:
            return [], []
        listed = self.chains.contracts(underlying.symbol, new_york_day(now_ns))
        return sorted({f"{one.expiry:%Y%m%d}" for one in listed}), sorted({one.strike for one in listed})

    def hours(self, line: Line, now_ns: int) -> str:
        """This day and the next ones: 20260413:0930-20260413:1600;20260414:CLOSED."""
        sessions = self._market.listings[line.name].sessions
        first, behind_ns = new_york_day(now_ns), CHICAGO_BEHIND_NS if line.sec_type == "FUT" else 0
        return ";".join(_day(sessions, first + timedelta(days=ahead), behind_ns) for ahead in range(HOURS_DAYS))

    def underlying(self, line: Line) -> Line | None:
        return self.universe.lines.get(line.symbol) if line.sec_type == "OPT" else None


def _third_friday(year: int, month: int) -> date:
    first = date(year, month, 1)
    return first + timedelta(days=(calendar.FRIDAY - first.weekday()) % 7 + 14)


def _day(sessions: Sessions, day: date, behind_ns: int) -> str:
    session = sessions.on(day)
    return f"{day:%Y%m%d}:CLOSED" if session is None else f"{_local(session.open_ns - behind_ns)}-{_local(session.close_ns - behind_ns)}"


def _local(at_ns: int) -> str:
    return f"{datetime.fromtimestamp((at_ns + new_york_offset_ns(at_ns)) // SECOND_NS, UTC):%Y%m%d:%H%M}"


def _fits(line: Line, wanted: Wanted) -> bool:
    if wanted.con_id:
        return line.con_id == wanted.con_id
    named = wanted.symbol in (line.symbol, line.cusip) or (not wanted.symbol and wanted.local_symbol == line.local_symbol)
    return (
        named
        and wanted.sec_type in ("", line.sec_type)
        and wanted.currency in ("", line.currency)
        and wanted.exchange in ("", "SMART", line.exchange, line.primary)
        and (wanted.exchange != "SMART" or line.exchange == "SMART")
        and wanted.primary in ("", line.primary)
        and wanted.local_symbol in ("", line.local_symbol)
        and wanted.multiplier in ("", line.multiplier)
    )
