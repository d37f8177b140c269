"""What a broker's event streams tell of an account, for readers that watch more than one account or resume where they were."""

from datetime import date
from decimal import Decimal

import msgspec

from trading_system.domain.fix import ExecType, OrdStatus, Side
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, OrderID
from trading_system.domain.report import ExecutionReport


class AccountEvent(msgspec.Struct, frozen=True, kw_only=True):
    """What happened to one order. account, event_id: the broker's own; "" where its stream does not say."""

    account: str = ""
    event_id: str = ""  # a reader can go on behind it
    report: ExecutionReport


class AccountActivity(msgspec.Struct, frozen=True, kw_only=True):
    """What was booked on one account: a trade, which has an exec_type, or anything else that moved money or units.

    Types and status are the broker's words: it adds some, and a reader is to see them.
    """

    broker: BrokerName
    account: str = ""
    event_id: str  # a reader can go on behind it
    activity_type: str
    activity_subtype: str = ""
    status: str
    ref_id: str  # the execution of a trade, the broker's entry of anything else
    previous_id: str | None = None  # the ref_id of what this corrects or takes back
    instrument: InstrumentID | None = None  # None: about money only, or the broker does not say
    exec_type: ExecType | None = None
    order_id: OrderID | None = None
    cl_ord_id: ClOrdID | None = None
    ord_status: OrdStatus | None = None
    side: Side | None = None
    qty: Decimal | None = None  # above zero for a trade, signed for what is none
    price: Decimal | None = None
    amount: Decimal | None = None  # signed money in `currency`
    currency: str
    settle_date: date
    text: str = ""  # what the other fields have no place for
    transact_ns: int
    recv_ns: int
