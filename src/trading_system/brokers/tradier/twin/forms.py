"""How the twin writes and reads what is neither order nor price: containers, numbers, times, refusals, the count of requests."""

from collections.abc import Iterable, Mapping
from datetime import date
from decimal import Decimal
from urllib.parse import parse_qsl

import msgspec

from trading_system.brokers.tradier import facts
from trading_system.domain.money import plain
from trading_system.sim.sessions import MINUTE_NS, new_york_day, new_york_ns, new_york_offset_ns
from trading_system.transport.message import Response

JSON = msgspec.json.Encoder(decimal_format="number")
MS = 1_000_000
# The sentences behind the names. Source: ../shared/specs/tradier/response-codes.json
_REVIEW = "please review current position quantity along with open orders for security."
CODES: Mapping[str, str] = {
    "BuyStopOrderStopPriceLessAsk": "Buy Stop order must have a Stop price greater than the current Ask price",
    "IncorrectOrderQuantity": "Quantity should be between 1 and 10,000,000",
    "InitialMargin": "You do not have enough buying power for this trade",
    "InvalidOrderExpiration": "Expiration date must be greater than the current date",
    "LimitOrderRequiredOutsideMarketHours": "Outside of market hours this order is required to be placed at a limit price.",
    "LimitPriceUndefined": "Limit price is not valid. Please check the price entered",
    "LongPositionCrossZero": f"Sell order is for more shares than your current long position, {_REVIEW}",
    "MarketOrderIsGtc": "You cannot place market orders with GTC, only day orders are allowed",
    "OcoExpirationTypeNotTheSame": "Expiration type of OCO orders must be the same",
    "OcoOrderWithOppositeLegs": "You cannot place OCO order with orders for the same security and with opposite trade direction",
    "OptionLevelRestriction": "Your account does not have the option level permission for this trade. Please contact 980-272-3880 for questions or "
    "concerns",
    "OrderWithDifferentSide": "You cannot have pending orders with different sides for selected symbol where one is a MKT order. You must close "
    "another pending order in order to place a SHORT order, or try a limit order instead",
    "OtoFirstLesIsMarketNotAllowed": "First market order in OTO is not allowed",
    "OtoOcoMarketNotAllowed": "OCO market orders are not allowed",
    "SecurityUndefined": "Symbol does not exist. Please contact 980-272-3880 for questions or concerns",
    "SellShortOrderLastPriceBelow5": "Sell Short order cannot be placed for stock priced below $5",
    "SellStopOrderStopPriceGreaterBid": "Sell Stop order must have a Stop price less than the Bid price",
    "ShortOptionTradingDeniedForAccount": "Account is restricted for option trading. Please contact 980-272-3880 for questions or concerns",
    "ShortOrderIsGtc": "You cannot place short stock orders with GTC, only day orders are allowed",
    "ShortPositionCrossZero": f"Buy order is for more shares than your current short position, {_REVIEW}",
    "ShortStockTradingDeniedForAccount": "Account is restricted from short sales. Please contact 980-272-3880 for questions or concerns",
    "ShortTradingDeniedForSecurity": "This symbol is not available for short sales. Please contact 980-272-3880 for questions or concerns",
    "StopPriceUndefined": "Stop price is not defined",
    "UnexpectedBuyOrder": "Buy order cannot be placed to cover short position, order must be placed as a Buy to Cover",
    "UnexpectedBuyOrderOption": "Buy To Open order cannot be placed to close a short option position, order must be placed as a Buy to Close",
    "UnexpectedBuyToCoverOrder": "Buy To Cover order cannot be placed unless closing a short position, please check open orders.",
    "UnexpectedBuyToCoverOrderOption": "Buy To Close order cannot be placed unless closing a short option position, please check open orders.",
    "UnexpectedSellOrder": "Sell order cannot be placed unless you are closing a long position, please check open orders.",
    "UnexpectedSellOrderOption": "Sell to Close order cannot be placed unless you are closing a long option position, please check open orders.",
    "UnexpectedSellShortOrder": "Sell short order cannot be placed while you have a current long position, please check open orders.",
    "UnexpectedSellShortOrderOption": "Sell to Open order cannot be placed while you have a current long option position, please check open orders.",
    "WashTradeAttempt": "You are unable to place orders on the same security and same price in different direction",
}


class Refusal(Exception):
    """An HTTP answer that says no."""

    def __init__(self, response: Response) -> None:
        super().__init__(response.body.decode())
        self.response = response


class Denied(Exception):
    """An order that is received, and then rejected: what stands in its row."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.reason = f"{code}: {CODES[code]}"


def answer(value: object, status: int = 200) -> Response:
    return Response(status=status, headers={"content-type": "application/json"}, body=JSON.encode(value))


def words(status: int, text: str) -> Response:
    """Tradier's gateway and its order service answer in plain text, whatever was asked for."""
    return Response(status=status, headers={"content-type": "text/plain"}, body=text.encode())


def parameter(name: str, why: str) -> Refusal:
    return Refusal(words(400, f"Invalid parameter, {name}: {why}"))


def business(code: str) -> Refusal:
    """A refusal with a code of its own."""
    return Refusal(answer({"errors": {"error": [f"{code}: {CODES[code]}"]}}, 400))


def fault(text: str, code: str, status: int) -> Response:
    return answer({"fault": {"faultstring": text, "detail": {"errorcode": code}}}, status)


def too_many() -> Response:
    return fault("Rate limit quota violation. Quota limit exceeded.", "policies.ratelimit.QuotaViolation", 429)


def container(outer: str, inner: str, rows: Iterable[object], *, word: bool = True) -> Mapping[str, object]:
    """Several things are an array, one stands alone, none is the word "null", in some answers null itself."""
    found = list(rows)
    if not found:
        return {outer: "null" if word else None}
    return {outer: {inner: found[0] if len(found) == 1 else found}}


def fields(query: str, body: bytes) -> dict[str, str]:
    """Query and form together; what is empty was not said."""
    return {name: value for name, value in (*parse_qsl(query), *parse_qsl(body.decode())) if value}


def number(value: Decimal) -> Decimal:
    """With a decimal at least, as Tradier writes what may have some.

    >>> number(Decimal(50)), number(Decimal("10.480"))
    (Decimal('50.0'), Decimal('10.48'))
    """
    text = plain(value)
    return Decimal(text if "." in text else f"{text}.0")


def cents(value: Decimal) -> Decimal:
    return number(value.quantize(Decimal("0.01")))


def when(ns: int) -> str:
    """RFC 3339 in UTC, to the millisecond."""
    day, rest = divmod(ns // MS, 86_400_000)
    seconds, ms = divmod(rest, 1000)
    return f"{date.fromordinal(day + date(1970, 1, 1).toordinal())}T{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}.{ms:03d}Z"


def wall(ns: int) -> str:
    """New York's clock, without saying so."""
    return when(ns + new_york_offset_ns(ns))[:19]


def instant(text: str, name: str) -> int:
    """New York's wall clock, with or without the time of day. Raises Refusal."""
    try:
        day = date.fromisoformat(text[:10])
        hours, minutes = (int(part) for part in (text[11:16] or "00:00").split(":"))
    except ValueError:
        raise parameter(name, "is not a valid date") from None
    return new_york_ns(day, hours * 60 + minutes)


def today(now_ns: int) -> date:
    return new_york_day(now_ns)


class Window:
    """A minute that starts with its first request."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._end_ns = 0
        self._used = 0

    def take(self, now_ns: int) -> tuple[bool, Mapping[str, str]]:
        """Whether the request may pass, and the four headers."""
        if now_ns >= self._end_ns:
            self._end_ns, self._used = now_ns + MINUTE_NS, 0
        allowed = self._used < self._limit
        self._used += allowed
        headers = {
            facts.ALLOWED_HEADER: self._limit,
            facts.USED_HEADER: self._used,
            facts.AVAILABLE_HEADER: self._limit - self._used,
            facts.EXPIRY_HEADER: self._end_ns // MS,
        }
        return allowed, {name.lower(): str(value) for name, value in headers.items()}
