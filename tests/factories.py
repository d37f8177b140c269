"""Small makers of domain values, so that a test names only what it is about."""

from decimal import Decimal

from trading_system.core.blotter import NOTHING, Reserved
from trading_system.core.ledger import EquityMark
from trading_system.core.risk import Limits, RiskState, check
from trading_system.domain.account import AccountSnapshot
from trading_system.domain.fix import ExecType, OrdStatus, OrdType, Side, TimeInForce
from trading_system.domain.hours import ALWAYS, Hours
from trading_system.domain.ids import BrokerName, ClOrdID, ExecID, InstrumentID, IntentID, OrderID
from trading_system.domain.instrument import AssetClass, Instrument, TickBand
from trading_system.domain.market import Quote
from trading_system.domain.order import Approved, NewOrder
from trading_system.domain.ports import ClientIdScope, Facts, OrderRule
from trading_system.domain.report import ExecutionReport

D = Decimal
BROKER = BrokerName("alpaca")
AAPL = InstrumentID("AAPL")
BTC = InstrumentID("BTC/USD")
NOW = 1_790_000_000_000_000_000
SECOND = 1_000_000_000

FACTS = Facts(
    broker=BROKER,
    title="Alpaca",
    rules=(
        OrderRule(AssetClass.EQUITY, frozenset(OrdType), frozenset(TimeInForce), fractional=False, extended_hours=True),
        OrderRule(AssetClass.EQUITY, frozenset(OrdType), frozenset({TimeInForce.DAY}), fractional=True),
        OrderRule(AssetClass.CRYPTO, frozenset({OrdType.MARKET, OrdType.LIMIT}), frozenset({TimeInForce.GTC, TimeInForce.IOC}), fractional=True),
    ),
    client_id_scope=ClientIdScope.FOR_EVER,
    late_accept_ns=120 * SECOND,
    visibility_lag_ns=90 * SECOND,
    can_replace=True,
    has_paper=True,
    max_fee_in_kind=D("0.003"),
    requests_per_minute=200,
    pages={"status": "https://status.alpaca.markets"},
)


def stock(hours: Hours = ALWAYS, **changes: object) -> Instrument:
    fields: dict[str, object] = {
        "id": AAPL,
        "broker": BROKER,
        "symbol": "AAPL",
        "asset_class": AssetClass.EQUITY,
        "base": "AAPL",
        "currency": "USD",
        "ticks": (TickBand(D(0), D("0.0001")), TickBand(D(1), D("0.01"))),
        "lot": D("0.000000001"),
        "whole_lot": D(1),
        "hours": hours,
        "shortable": True,
    }
    return Instrument(**(fields | changes))  # type: ignore[arg-type]


def coin(**changes: object) -> Instrument:
    fields: dict[str, object] = {
        "id": BTC,
        "symbol": "BTC/USD",
        "asset_class": AssetClass.CRYPTO,
        "base": "BTC",
        "lot": D("0.0001"),
        "whole_lot": D("0.0001"),
        "min_qty": D("0.0001"),
        "min_notional": D(10),
        "shortable": False,
    }
    return stock(**(fields | changes))  # type: ignore[arg-type]


def quote(bid: str = "99.99", ask: str = "100.01", instrument: InstrumentID = AAPL, at_ns: int = NOW) -> Quote:
    return Quote(instrument=instrument, bid_px=D(bid), bid_qty=D(100), ask_px=D(ask), ask_qty=D(100), transact_ns=at_ns, recv_ns=at_ns)


def account(equity: str = "100000", **changes: object) -> AccountSnapshot:
    fields: dict[str, object] = {
        "broker": BROKER,
        "account": "PA1",
        "environment": "paper",
        "currency": "USD",
        "equity": D(equity),
        "last_equity": D(equity),
        "cash": D(equity),
        "buying_power": D(equity),
        "positions": (),
        "tradable": True,
        "text": "",
        "transact_ns": NOW,
        "recv_ns": NOW,
    }
    return AccountSnapshot(**(fields | changes))  # type: ignore[arg-type]


def mark(equity: str = "100000", **changes: object) -> EquityMark:
    fields: dict[str, object] = {"day": NOW // (86_400 * SECOND), "day_start": D(equity), "high_water": D(equity), "equity": D(equity)}
    return EquityMark(**(fields | changes))  # type: ignore[arg-type]


def wish(qty: str | None = "10", side: Side = Side.BUY, **changes: object) -> NewOrder:
    fields: dict[str, object] = {
        "broker": BROKER,
        "instrument": AAPL,
        "side": side,
        "order_qty": None if qty is None else D(qty),
        "intent": IntentID("k1"),
    }
    return NewOrder(**(fields | changes))  # type: ignore[arg-type]


def risk_state(**changes: object) -> RiskState:
    fields: dict[str, object] = {
        "limits": Limits(),
        "facts": FACTS,
        "halts": (),
        "ready": True,
        "account": account(),
        "equity": mark(),
        "instrument": stock(),
        "quote": quote(),
        "position": D(0),
        "reserved": NOTHING,
        "total": NOTHING,
        "holdings": (),
        "reserved_crypto": D(0),
        "working": (),
        "recent": (),
        "reserving": frozenset(),
        "live": False,
        "arming": None,
        "dry_run": False,
        "cl_ord_id": ClOrdID("q1aaaaaaaaaaaaaaaa"),
        "now_ns": NOW,
    }
    return RiskState(**(fields | changes))  # type: ignore[arg-type]


def approved(request: NewOrder | None = None, **changes: object) -> Approved:
    return check(request or wish(), risk_state(**changes))


def reserved(**changes: object) -> Reserved:
    return Reserved(**changes)  # type: ignore[arg-type]


def report(exec_type: ExecType, ord_status: OrdStatus, **changes: object) -> ExecutionReport:
    fields: dict[str, object] = {
        "broker": BROKER,
        "cl_ord_id": ClOrdID("q1aaaaaaaaaaaaaaaa"),
        "order_id": OrderID("o1"),
        "exec_type": exec_type,
        "ord_status": ord_status,
        "instrument": AAPL,
        "side": Side.BUY,
        "ord_type": OrdType.MARKET,
        "time_in_force": TimeInForce.DAY,
        "order_qty": D(10),
        "transact_ns": NOW,
        "recv_ns": NOW,
    }
    return ExecutionReport(**(fields | changes))  # type: ignore[arg-type]


def trade(exec_id: str, qty: str, px: str, cum: str | None, *, full: bool = False, **changes: object) -> ExecutionReport:
    status = OrdStatus.FILLED if full else OrdStatus.PARTIALLY_FILLED
    return report(
        ExecType.TRADE,
        status,
        exec_id=ExecID(exec_id),
        last_qty=D(qty),
        last_px=D(px),
        cum_qty=None if cum is None else D(cum),
        **changes,
    )
