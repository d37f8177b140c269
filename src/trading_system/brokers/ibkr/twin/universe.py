"""What the twin lists: stocks and funds, options on them, futures, pairs of moneys, coins, and bonds. Prices are scenery, contract numbers IB's own
where known. What a mutual fund is worth moves all day here."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import msgspec

from trading_system.domain.bond import UNIT_PER_POINT
from trading_system.domain.money import plain
from trading_system.domain.option import Contract
from trading_system.sim.exchange import Terms
from trading_system.sim.market import LOT, Listing, seed_of
from trading_system.sim.sessions import Sessions

CENT = Decimal("0.01")
FEE = Decimal("0.0002")  # of the money, whatever the size; minimum commissions are not modelled
MULTIPLIER = Decimal(100)
HOME = "USD"


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One contract. name: what market and exchange call it. touch: typical units at the best price."""

    name: str
    con_id: int
    symbol: str
    sec_type: str
    exchange: str
    primary: str
    local_symbol: str
    trading_class: str
    title: str
    min_tick: Decimal = CENT
    last_trade: str = ""
    strike: Decimal = Decimal(0)
    right: str = ""
    multiplier: str = ""
    currency: str = HOME
    size_step: Decimal = Decimal(1)
    margin: Decimal = Decimal(1)  # the part of its worth that one ties up
    cusip: str = ""  # of a bond
    coupon: str = ""
    matures: str = ""

    @property
    def units(self) -> Decimal:
        """What a price is per: of a bond, which is 1,000, it is a percentage."""
        return UNIT_PER_POINT if self.cusip else Decimal(self.multiplier or 1)

    @property
    def rule(self) -> int:
        """The number of its market rule: its smallest step, as one band."""
        return {CENT: 26, Decimal("0.00005"): 239, Decimal("0.05"): 110, Decimal("0.25"): 67, Decimal("0.1"): 32}.get(self.min_tick, 26)


def _stock(symbol: str, con_id: int, primary: str, title: str) -> Line:
    return Line(
        name=symbol,
        con_id=con_id,
        symbol=symbol,
        sec_type="STK",
        exchange="SMART",
        primary=primary,
        local_symbol=symbol,
        trading_class="NMS" if primary == "NASDAQ" else symbol,
        title=title,
    )


def _pair(symbol: str, con_id: int, title: str) -> Line:
    return Line(
        name=f"{symbol}.USD",
        con_id=con_id,
        symbol=symbol,
        sec_type="CASH",
        exchange="IDEALPRO",
        primary="",
        local_symbol=f"{symbol}.USD",
        trading_class=f"{symbol}.USD",
        title=title,
        min_tick=Decimal("0.00005"),
    )


def _coin(symbol: str, con_id: int, title: str, tick: str) -> Line:
    return Line(
        name=f"{symbol}.USD",
        con_id=con_id,
        symbol=symbol,
        sec_type="CRYPTO",
        exchange="PAXOS",
        primary="",
        local_symbol=f"{symbol}.USD",
        trading_class=symbol,
        title=title,
        min_tick=Decimal(tick),
        size_step=Decimal("0.00000001"),
    )


def _bond(cusip: str, con_id: int, issuer: str, coupon: str, title: str, matures: str) -> Line:
    return Line(
        name=cusip,
        con_id=con_id,
        symbol=issuer,
        sec_type="BOND",
        exchange="SMART",
        primary="",
        local_symbol=f"IBCID{con_id}",
        trading_class=issuer,
        title=title,
        cusip=cusip,
        coupon=coupon,
        matures=matures,
    )


def _fund(symbol: str, con_id: int, title: str) -> Line:
    return Line(
        name=symbol,
        con_id=con_id,
        symbol=symbol,
        sec_type="FUND",
        exchange="FUNDSERV",
        primary="",
        local_symbol=symbol,
        trading_class=symbol,
        title=title,
        size_step=LOT,
    )


# line, price, volatility, touch, sizes
_LISTED: tuple[tuple[Line, str, float, int, str], ...] = (
    (_stock("AAPL", 265598, "NASDAQ", "APPLE INC"), "230", 0.28, 100, "1"),
    (_stock("MSFT", 272093, "NASDAQ", "MICROSOFT CORP"), "430", 0.25, 200, "1"),
    (_stock("NVDA", 4815747, "NASDAQ", "NVIDIA CORP"), "180", 0.45, 500, "1"),
    (_stock("AMZN", 3691937, "NASDAQ", "AMAZON.COM INC"), "220", 0.32, 300, "1"),
    (_stock("TSLA", 76792991, "NASDAQ", "TESLA INC"), "320", 0.55, 300, "1"),
    (_stock("SPY", 756733, "ARCA", "SPDR S&P 500 ETF TRUST"), "600", 0.15, 800, "1"),
    (_stock("QQQ", 320227571, "NASDAQ", "INVESCO QQQ TRUST SERIES 1"), "510", 0.2, 600, "1"),
    (_stock("IWM", 9579970, "ARCA", "ISHARES RUSSELL 2000 ETF"), "225", 0.22, 700, "1"),
    (_stock("F", 9599491, "NYSE", "FORD MOTOR CO"), "11", 0.33, 3000, "1"),
    (_stock("BRK B", 72063691, "NYSE", "BERKSHIRE HATHAWAY INC-CL B"), "470", 0.17, 100, "1"),
    (_pair("EUR", 12087792, "European Monetary Union Euro"), "1.08", 0.07, 3, "10000"),
    (_pair("GBP", 12087797, "British pound"), "1.27", 0.08, 3, "10000"),
    (_pair("AUD", 14433401, "Australian dollar"), "0.66", 0.1, 3, "10000"),
    (_coin("BTC", 479624278, "Bitcoin cryptocurrency", "0.25"), "95000", 0.5, 100, "0.01"),
    (_coin("ETH", 495759171, "Ethereum cryptocurrency", "0.05"), "3300", 0.6, 100, "0.1"),
    (_bond("912810TM0", 588000001, "US-T", "4", "United States Treasury 4 11/15/42", "20421115"), "94", 0.12, 20, "1"),
    (_bond("91282CJJ1", 588000002, "US-T", "4.5", "United States Treasury 4 1/2 11/15/33", "20331115"), "98", 0.05, 40, "1"),
    (_fund("VFIAX", 588000003, "Vanguard 500 Index Fund Admiral Shares"), "550", 0.15, 1_000_000, "1"),
)


class Root(msgspec.Struct, frozen=True, kw_only=True):
    """What the futures of one name have in common. months: those in which one ends, on the third Friday."""

    symbol: str
    exchange: str
    multiplier: str
    title: str
    price: str
    tick: str
    volatility: float
    touch: int
    months: tuple[int, ...] = (3, 6, 9, 12)


ROOTS = (
    Root(symbol="ES", exchange="CME", multiplier="50", title="E-mini S&P 500", price="6000", tick="0.25", volatility=0.15, touch=30),
    Root(symbol="MES", exchange="CME", multiplier="5", title="Micro E-mini S&P 500", price="6000", tick="0.25", volatility=0.15, touch=60),
    Root(symbol="CL", exchange="NYMEX", multiplier="1000", title="Light Sweet Crude Oil", price="70", tick="0.01", volatility=0.3, touch=15),
    Root(symbol="MCL", exchange="NYMEX", multiplier="100", title="Micro WTI Crude Oil", price="70", tick="0.01", volatility=0.3, touch=3),
    Root(symbol="GC", exchange="COMEX", multiplier="100", title="Gold", price="3300", tick="0.1", volatility=0.16, touch=8),
)
LISTED_MONTHS = 12  # how far ahead futures are listed
FUTURES_MARGIN = Decimal("0.1")
_LETTERS = "FGHJKMNQUVXZ"  # of the months, as exchanges have them


class Universe(msgspec.Struct, frozen=True):
    """Contracts by name, and what market and exchange know of them; options and futures are added as they are first asked for."""

    lines: dict[str, Line]
    listings: tuple[Listing, ...]
    terms: dict[str, Terms]

    def future(self, root: Root, expiry: date, expires_ns: int) -> Line:
        """The line of a future, known from now on to the account."""
        name = f"{root.symbol}{_LETTERS[expiry.month - 1]}{expiry.year % 10}"
        if name not in self.lines:
            self.lines[name] = Line(
                name=name,
                con_id=600_000_000 + seed_of(0, name) % 90_000_000,
                symbol=root.symbol,
                sec_type="FUT",
                exchange=root.exchange,
                primary="",
                local_symbol=name,
                trading_class=root.symbol,
                title=root.title,
                min_tick=Decimal(root.tick),
                last_trade=f"{expiry:%Y%m%d}",
                multiplier=root.multiplier,
                margin=FUTURES_MARGIN,
            )
            self.terms[name] = Terms(
                base=name, maker_fee=FEE, taker_fee=FEE, fees_in_money=True, multiplier=Decimal(root.multiplier), expires_ns=expires_ns
            )
        return self.lines[name]

    def option(self, contract: Contract, name: str, expires_ns: int) -> Line:
        """The line of an option, known from now on to the account."""
        if name not in self.lines:
            self.lines[name] = Line(
                name=name,
                con_id=700_000_000 + seed_of(0, name) % 100_000_000,
                symbol=contract.underlying,
                sec_type="OPT",
                exchange="SMART",
                primary="",
                local_symbol=f"{name[:-15]:<6}{name[-15:]}",
                trading_class=contract.underlying,
                title=self.lines[contract.underlying].title,
                last_trade=f"{contract.expiry:%Y%m%d}",
                strike=contract.strike,
                right=contract.right.letter,
                multiplier=plain(MULTIPLIER),
            )
            self.terms[name] = Terms(
                base=name, maker_fee=FEE, taker_fee=FEE, fees_in_money=True, multiplier=MULTIPLIER, contract=contract, expires_ns=expires_ns
            )
        return self.lines[name]


def universe(hours: str) -> Universe:
    """Everything listed; stocks are open in `hours` ("always" or "us"), pairs then in their own week."""
    sessions, week, always = Sessions(hours), Sessions("always" if hours == "always" else "forex"), Sessions()
    by_type: Mapping[str, Sessions] = {"STK": sessions, "BOND": sessions, "FUND": sessions, "CASH": week, "CRYPTO": always}
    listings = tuple(
        Listing(
            symbol=line.name,
            price=Decimal(price),
            unit=line.min_tick,
            volatility=volatility,
            touch=touch,
            size=Decimal(size),
            sessions=by_type[line.sec_type],
        )
        for line, price, volatility, touch, size in _LISTED
    )
    terms = {
        line.name: Terms(base=line.cusip or line.symbol, maker_fee=FEE, taker_fee=FEE, fees_in_money=True, multiplier=line.units)
        for line, *_ in _LISTED
    }
    return Universe({line.name: line for line, *_ in _LISTED}, listings, terms)
