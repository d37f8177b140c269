"""What a client's words name: contracts found by number, by symbol or by local symbol, with their details, rules and trading hours."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

from trading_system.brokers.ibkr.twin.forms import Refusal, Wanted
from trading_system.brokers.ibkr.twin.universe import Line, Universe
from trading_system.domain.option import Contract
from trading_system.sim.market import Market
from trading_system.sim.options import Chains
from trading_system.sim.sessions import SECOND_NS, Sessions, new_york_day, new_york_offset_ns

HOURS_DAYS = 7
SAMPLES_MAX = 16
_NOT_FOUND = "No security definition has been found for the request"


class Contracts:
    """The list, and the options on it."""

    def __init__(self, universe: Universe, market: Market, chains: Chains) -> None:
        self.universe = universe
        self.chains = chains
        self._market = market

    def find(self, wanted: Wanted, now_ns: int) -> list[Line]:
        """Every contract that the words fit. Raises Refusal: none."""
        if wanted.sec_type == "OPT" and not wanted.con_id:
            found = self._options(wanted, now_ns)
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
        first = new_york_day(now_ns)
        return ";".join(_day(sessions, first + timedelta(days=ahead)) for ahead in range(HOURS_DAYS))

    def underlying(self, line: Line) -> Line | None:
        return self.universe.lines.get(line.symbol) if line.sec_type == "OPT" else None


def _day(sessions: Sessions, day: date) -> str:
    session = sessions.on(day)
    return f"{day:%Y%m%d}:CLOSED" if session is None else f"{_local(session.open_ns)}-{_local(session.close_ns)}"


def _local(at_ns: int) -> str:
    return f"{datetime.fromtimestamp((at_ns + new_york_offset_ns(at_ns)) // SECOND_NS, UTC):%Y%m%d:%H%M}"


def _fits(line: Line, wanted: Wanted) -> bool:
    if wanted.con_id:
        return line.con_id == wanted.con_id
    named = wanted.symbol == line.symbol or (not wanted.symbol and wanted.local_symbol == line.local_symbol)
    return (
        named
        and wanted.sec_type in ("", line.sec_type)
        and wanted.currency in ("", line.currency)
        and wanted.exchange in ("", "SMART", line.exchange, line.primary)
        and (wanted.exchange != "SMART" or line.exchange == "SMART")
        and wanted.primary in ("", line.primary)
        and wanted.local_symbol in ("", line.local_symbol)
    )
