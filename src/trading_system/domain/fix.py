"""The FIX words we use, as enums. A broker's own word becomes one of these in its codec, or is refused there."""

from enum import StrEnum


class Side(StrEnum):
    BUY = "buy"
    SELL = "sell"

    @property
    def sign(self) -> int:
        """+1 for a buy, -1 for a sell: what it does to the position."""
        return 1 if self is Side.BUY else -1

    @property
    def opposite(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


class OrdType(StrEnum):
    MARKET = "market"
    LIMIT = "limit"
    STOP = "stop"
    STOP_LIMIT = "stop_limit"
    TRAILING_STOP = "trailing_stop"  # a stop whose price follows the market at a distance, one way only
    MARKET_IF_TOUCHED = "market_if_touched"  # a market order once its stop price is met, from whichever side the market comes

    @property
    def has_price(self) -> bool:
        return self in (OrdType.LIMIT, OrdType.STOP_LIMIT)

    @property
    def has_stop(self) -> bool:
        return self in (OrdType.STOP, OrdType.STOP_LIMIT, OrdType.MARKET_IF_TOUCHED)

    @property
    def waits(self) -> bool:
        """For the market to reach a price, before it is an order in the book."""
        return self.has_stop or self is OrdType.TRAILING_STOP


class Contingency(StrEnum):
    """FIX 1385, and the bracket that retail brokers make of it: how orders that the broker itself links depend on one another."""

    NONE = "none"
    OTO = "oto"  # one triggers the other: an entry, and one exit that starts when it is filled
    OCO = "oco"  # one cancels the other: two exits from what is held
    BRACKET = "bracket"  # an entry that triggers two exits, which cancel one another


class TimeInForce(StrEnum):
    DAY = "day"
    GTC = "gtc"
    IOC = "ioc"
    FOK = "fok"
    AT_THE_OPENING = "opg"
    AT_THE_CLOSE = "cls"


class OrdStatus(StrEnum):
    """FIX 39. PENDING_NEW is also an order whose intent is on disk and whose bytes may be on their way."""

    PENDING_NEW = "pending_new"
    NEW = "new"
    PARTIALLY_FILLED = "partially_filled"
    DONE_FOR_DAY = "done_for_day"
    SUSPENDED = "suspended"
    PENDING_CANCEL = "pending_cancel"
    PENDING_REPLACE = "pending_replace"
    FILLED = "filled"
    CANCELED = "canceled"
    EXPIRED = "expired"
    REJECTED = "rejected"
    REPLACED = "replaced"

    @property
    def terminal(self) -> bool:
        return self in _TERMINAL


_TERMINAL = frozenset({OrdStatus.FILLED, OrdStatus.CANCELED, OrdStatus.EXPIRED, OrdStatus.REJECTED, OrdStatus.REPLACED})


class ExecType(StrEnum):
    """FIX 150: what happened; the last two are FIX's OrderCancelReject, kept here so that every fact about an order is one report."""

    PENDING_NEW = "pending_new"
    NEW = "new"
    TRADE = "trade"
    TRADE_CORRECT = "trade_correct"
    TRADE_CANCEL = "trade_cancel"
    DONE_FOR_DAY = "done_for_day"
    SUSPENDED = "suspended"
    PENDING_CANCEL = "pending_cancel"
    CANCELED = "canceled"
    PENDING_REPLACE = "pending_replace"
    REPLACED = "replaced"
    EXPIRED = "expired"
    REJECTED = "rejected"
    ORDER_STATUS = "order_status"  # the answer to a question: how the order stands, nothing that just happened
    CANCEL_REJECTED = "cancel_rejected"
    REPLACE_REJECTED = "replace_rejected"


class Doubt(StrEnum):
    """Whether we know what the broker made of an order. Beside ord_status, never instead of it."""

    NONE = "none"
    IN_DOUBT = "in_doubt"  # sent, no answer: exposure stays reserved, the broker is asked, nothing is re-sent
    PROVEN_ABSENT = "proven_absent"  # the broker never had it, by the full rule
    ESCALATED = "escalated"  # a person must look
