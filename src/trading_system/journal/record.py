"""Everything that is ever written, as one tagged union with its schema version. Old journals stay readable for ever."""

from decimal import Decimal

import msgspec

from trading_system.core.ledger import EquityMark
from trading_system.core.risk import Halt
from trading_system.domain.account import Flow
from trading_system.domain.errors import JournalError
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID, IntentID
from trading_system.domain.instrument import AssetClass
from trading_system.domain.money import ONE
from trading_system.domain.order import Approved
from trading_system.domain.report import ExecutionReport
from trading_system.domain.signal import Wish

SCHEMA_VERSION = 6


class Started(msgspec.Struct, frozen=True, kw_only=True, tag="started"):
    """A desk took the lease. epoch counts the desks that ever wrote here."""

    epoch: int
    version: str
    config_hash: str
    environment: str
    brokers: tuple[BrokerName, ...]
    now_ns: int


class Intent(msgspec.Struct, frozen=True, kw_only=True, tag="intent"):
    """An order may leave from here on. Durable before its first byte."""

    approved: Approved


class Reported(msgspec.Struct, frozen=True, kw_only=True, tag="reported"):
    """What a broker said of an order. The order's currency and multiplier ride along, so that replay needs no broker."""

    report: ExecutionReport
    account: str
    currency: str
    multiplier: Decimal
    inverse: bool = False
    asset_class: AssetClass
    prior: bool = False  # found at the first start: what it had filled by then is part of the opening position


class Doubted(msgspec.Struct, frozen=True, kw_only=True, tag="doubted"):
    """Sent, no answer."""

    cl_ord_id: ClOrdID
    text: str
    now_ns: int


class ClosedUnsent(msgspec.Struct, frozen=True, kw_only=True, tag="closed_unsent"):
    """Certainly not at the broker. proven_absent: by the full rule, or by a person's word; text says which. rejected: the broker said no."""

    cl_ord_id: ClOrdID
    text: str
    proven_absent: bool
    rejected: bool = False
    now_ns: int


class Escalated(msgspec.Struct, frozen=True, kw_only=True, tag="escalated"):
    """A person must look at this order."""

    cl_ord_id: ClOrdID
    text: str
    now_ns: int


class CancelAsked(msgspec.Struct, frozen=True, kw_only=True, tag="cancel_asked"):
    """The order is not wanted any more. sent: a request for it may leave from here on; else it waits until the broker knows the order."""

    cl_ord_id: ClOrdID
    sent: bool = True
    now_ns: int


class HaltSet(msgspec.Struct, frozen=True, kw_only=True, tag="halt_set"):
    halt: Halt


class HaltCleared(msgspec.Struct, frozen=True, kw_only=True, tag="halt_cleared"):
    """scope: of the halt; "*" clears every one."""

    scope: str
    by: str
    now_ns: int


class Marked(msgspec.Struct, frozen=True, kw_only=True, tag="marked"):
    """The equity's references moved: a new day, a new high."""

    mark: EquityMark


class Adjusted(msgspec.Struct, frozen=True, kw_only=True, tag="adjusted"):
    """Units that came or went without an order of ours: found at the first start, a fee in kind, a split, a person's correction."""

    broker: BrokerName
    instrument: InstrumentID
    asset_class: AssetClass
    qty: Decimal
    price: Decimal
    multiplier: Decimal = ONE
    inverse: bool = False
    reason: str
    fee: bool = False  # a fee that was charged in units
    now_ns: int


class Flowed(msgspec.Struct, frozen=True, kw_only=True, tag="flowed"):
    """Money or units moved without an order. prior: before this desk first looked, part of what it began with."""

    flow: Flow
    worth: Decimal  # in the base currency: its amount, or what its units are worth
    equity_before: Decimal  # over all accounts, as last seen, less a transfer that it had already
    prior: bool = False
    now_ns: int


class CashAdjusted(msgspec.Struct, frozen=True, kw_only=True, tag="cash_adjusted"):
    """Money that this ledger had not seen: found at the first start, fees on what was sold, a person's word."""

    broker: BrokerName
    currency: str
    amount: Decimal
    reason: str
    fee: bool = False
    now_ns: int


class Watermark(msgspec.Struct, frozen=True, kw_only=True, tag="watermark"):
    """Every fill at this broker up to then is booked."""

    broker: BrokerName
    fills_ns: int


class Alert(msgspec.Struct, frozen=True, kw_only=True, tag="alert"):
    """Something a person should know. severity: info, warning, critical."""

    severity: str
    text: str
    now_ns: int


class AlertAcked(msgspec.Struct, frozen=True, kw_only=True, tag="alert_acked"):
    """A person has seen it. number: the alert's, counted from the journal's first; 0 is all of them."""

    number: int
    by: str
    now_ns: int


class Armed(msgspec.Struct, frozen=True, kw_only=True, tag="armed"):
    """The owner let live orders out: up to this notional in all, until then, on these accounts."""

    accounts: tuple[str, ...]
    max_notional: Decimal
    until_ns: int
    by: str = "owner"
    now_ns: int


class Decided(msgspec.Struct, frozen=True, kw_only=True, tag="decided"):
    """What became of a strategy's wish: taken or not, the rule that bound, and the numbers of the size. Where the gate refuses what was sized, a
    second one with the same intent says so, and counts."""

    strategy: str
    broker: BrokerName
    wish: Wish
    intent: IntentID
    taken: bool
    rule: str
    text: str
    numbers: dict[str, str]
    qty: Decimal
    cl_ord_id: ClOrdID | None
    now_ns: int


class Routed(msgspec.Struct, frozen=True, kw_only=True, tag="routed"):
    """From here on openings on this instrument that are asked for at home go to that broker; to home itself: back."""

    home: BrokerName
    instrument: InstrumentID
    to: BrokerName
    text: str
    now_ns: int


Record = (
    Started
    | Intent
    | Reported
    | Doubted
    | ClosedUnsent
    | Escalated
    | CancelAsked
    | HaltSet
    | HaltCleared
    | Marked
    | Adjusted
    | Flowed
    | CashAdjusted
    | Watermark
    | Alert
    | AlertAcked
    | Armed
    | Decided
    | Routed
)

_decoder = msgspec.json.Decoder(Record)
_encoder = msgspec.json.Encoder(decimal_format="string", order="deterministic")


def encode(record: Record) -> bytes:
    return _encoder.encode(record)


def decode(body: bytes) -> Record:
    """Raises JournalError: a record this version does not know; the journal was written by a newer one."""
    try:
        record: Record = _decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise JournalError(f"a journal record cannot be read: {error}. Was it written by a newer version?") from None
    return record
