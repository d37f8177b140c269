"""Our names of instruments and IB's words for contracts, both ways. Both transports use these.

Stocks and funds in dollars, options on them, pairs quoted in dollars, coins. What else an account may hold has a name here and cannot be traded:
futures, bonds and funds of other kinds, pairs that are quoted in another money.
"""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal

import msgspec

from trading_system.domain.errors import BadRequest, ProtocolError
from trading_system.domain.ids import InstrumentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import plain
from trading_system.domain.option import Contract, Right, is_option, occ, parse_occ, underlying_of

HOME = "USD"
COINS = frozenset({"BTC", "ETH", "LTC", "BCH", "SOL", "ADA", "XRP", "DOGE", "LINK", "AVAX", "UNI", "AAVE", "MATIC"})
MONEYS = frozenset({"EUR", "GBP", "AUD", "NZD"})  # whose pairs are quoted in dollars
SEC_TYPES: Mapping[AssetClass, str] = {
    AssetClass.EQUITY: "STK",
    AssetClass.OPTION: "OPT",
    AssetClass.FOREX: "CASH",
    AssetClass.CRYPTO: "CRYPTO",
}
EXCHANGES: Mapping[str, str] = {"STK": "SMART", "OPT": "SMART", "CASH": "IDEALPRO", "CRYPTO": "PAXOS"}
_CLASSES = {sec_type: asset_class for asset_class, sec_type in SEC_TYPES.items()}
_MILLE = Decimal(1000)


class Words(msgspec.Struct, frozen=True, kw_only=True):
    """A contract in the words that IB finds it by."""

    symbol: str
    sec_type: str
    exchange: str
    currency: str = HOME
    last_trade: str = ""
    strike: Decimal = Decimal(0)
    right: str = ""
    multiplier: str = ""


def asset_class_of(sec_type: str) -> AssetClass | None:
    """None: a kind that this desk does not trade."""
    return _CLASSES.get(sec_type)


def encode_instrument(instrument: InstrumentID) -> Words:
    """The words for an instrument.

    >>> encode_instrument(InstrumentID("BRK.B")).symbol
    'BRK B'

    Raises: BadRequest: a pair that is not quoted in dollars, or of things IB does not have.
    """
    base, slash, currency = instrument.partition("/")
    if slash:
        if currency != HOME or base not in COINS | MONEYS:
            raise unknown(instrument)
        sec_type = "CRYPTO" if base in COINS else "CASH"
        return Words(symbol=base, sec_type=sec_type, exchange=EXCHANGES[sec_type])
    if is_option(instrument):
        contract = parse_occ(instrument)
        return Words(
            symbol=contract.underlying,
            sec_type="OPT",
            exchange="SMART",
            last_trade=f"{contract.expiry:%Y%m%d}",
            strike=contract.strike,
            right=contract.right.letter,
            multiplier="100",
        )
    return Words(symbol=instrument.replace(".", " "), sec_type="STK", exchange="SMART")


def decode_instrument(
    sec_type: str, symbol: str, currency: str, local_symbol: str, last_trade: str = "", right: str = "", strike: Decimal = Decimal(0)
) -> InstrumentID:
    """Our name of a contract; what cannot be traded here is called by IB's own name and its kind.

    >>> decode_instrument("OPT", "SPY", "USD", "SPY   250117C00440000", "20250117", "C", Decimal(440))
    'SPY250117C00440000'

    Raises: ProtocolError: an option without a day or a right.
    """
    match sec_type:
        case "STK" if currency == HOME:
            return InstrumentID(symbol.replace(" ", "."))
        case "CASH" | "CRYPTO":
            return InstrumentID(f"{symbol}/{currency}")
        case "OPT" if currency == HOME:
            try:
                day = date(int(last_trade[:4]), int(last_trade[4:6]), int(last_trade[6:8]))
                side = {"C": Right.CALL, "P": Right.PUT}[right[:1]]
                return occ(Contract(underlying=InstrumentID(symbol), expiry=day, right=side, strike=strike))
            except (ValueError, KeyError):
                raise ProtocolError("an option that cannot be read", f"{symbol} {last_trade} {right} {plain(strike)}".encode()) from None
    return InstrumentID(f"{(local_symbol or symbol).replace(' ', '.')}.{sec_type}")


def spelling(sec_type: str, symbol: str, currency: str, instrument: InstrumentID) -> str:
    """How IB writes it, as people know it: AAPL, BRK B, EUR.USD."""
    if sec_type in ("CASH", "CRYPTO"):
        return f"{symbol}.{currency}"
    return instrument if sec_type == "OPT" else symbol


def unknown(instrument: InstrumentID) -> BadRequest:
    if is_option(instrument):
        text = f"Interactive Brokers has no option {instrument} that this desk can trade"
        return BadRequest(f"{text}. `trading chain {underlying_of(instrument)}` lists those it has.")
    return BadRequest(
        f"Interactive Brokers has no {instrument} that this desk can trade. Stocks are written AAPL, share classes BRK.B, pairs EUR/USD, "
        "coins BTC/USD; pairs are those quoted in dollars."
    )
