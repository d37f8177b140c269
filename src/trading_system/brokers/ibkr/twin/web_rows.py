"""How the Web API shows what the twin keeps: orders, executions, contracts, positions."""

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal

from trading_system.brokers.ibkr.twin.forms import Form, Refusal, Wanted
from trading_system.brokers.ibkr.twin.orders import Orders, Placed
from trading_system.brokers.ibkr.twin.universe import Line
from trading_system.brokers.ibkr.web.wire import DAY_IN_ROWS
from trading_system.domain.fix import Side
from trading_system.domain.money import plain
from trading_system.sim.exchange import Execution
from trading_system.sim.sessions import SECOND_NS

Json = Mapping[str, object]
MS = 1_000_000
TYPES = {"MKT": "MKT", "LMT": "LMT", "STP": "STP", "STOP_LIMIT": "STP LMT", "TRAIL": "TRAIL", "MOC": "MOC", "LOC": "LOC"}
_SHOWN = {
    "MKT": "MARKET",
    "LMT": "LIMIT",
    "STP": "STOP",
    "STP LMT": "STOP_LIMIT",
    "TRAIL": "TRAILING_STOP",
    "MOC": "MARKETONCLOSE",
    "LOC": "LMTONCLOSE",
}


def form_of(asked: Json, order_id: int, account: str) -> Form:
    """An order as TWS would have it. Raises Refusal: a field that is missing or none."""
    word = str(asked.get("orderType", ""))
    if word not in TYPES:
        raise Refusal(400, f"Invalid order type: {word}")
    price, aux, trail = (_number(asked, name) for name in ("price", "auxPrice", "trailingAmt"))
    if word == "STP":
        price, aux = None, price
    if not str(asked.get("conid", "")).isdecimal() or asked.get("side") not in ("BUY", "SELL") or "tif" not in asked:
        raise Refusal(400, "Bad Request: conid, side and tif are required")
    percent = asked.get("trailingType") == "%"
    return Form(
        order_id=order_id,
        contract=Wanted(int(str(asked["conid"])), "", "", "", Decimal(0), "", "", "", "", "", "", ""),
        action=str(asked["side"]),
        qty=_number(asked, "quantity") or Decimal(0),
        order_type=TYPES[word],
        limit=price,
        aux=trail if word == "TRAIL" and not percent else aux,
        tif=str(asked["tif"]),
        oca_group="",
        account=str(asked.get("acctId", account)),
        ref=str(asked.get("cOID", "")),
        transmit=True,
        parent_id=0,
        outside_rth=bool(asked.get("outsideRTH", False)),
        oca_type=0,
        trail_stop=None,
        trail_pct=trail if percent else None,
        what_if=False,
        cash_qty=None,
    )


def _number(asked: Json, name: str) -> Decimal | None:
    value = asked.get(name)
    if value is None:
        return None
    try:
        return Decimal(str(value))
    except ArithmeticError:
        raise Refusal(400, f"Bad Request: {name} is no number") from None


def order_row(placed: Placed, trading: Orders, account: str) -> dict[str, object]:
    """A line of live orders; numbers are numbers, prices text."""
    shown, line = trading.show(placed), placed.line
    updated_ns = placed.created_ns if placed.order is None else placed.order.updated_ns
    row: dict[str, object] = {
        "acct": account,
        "account": account,
        "conid": line.con_id,
        "conidex": str(line.con_id),
        "orderId": placed.perm_id,
        "cashCcy": line.currency,
        "ticker": line.symbol,
        "secType": line.sec_type,
        "listingExchange": line.primary or line.exchange,
        "remainingQuantity": _plain(shown.qty - shown.filled),
        "filledQuantity": _plain(shown.filled),
        "totalSize": _plain(shown.qty),
        "status": shown.status,
        "order_ccp_status": shown.status,
        "origOrderType": _SHOWN[shown.form.order_type],
        "orderType": _SHOWN[shown.form.order_type].title(),
        "side": shown.form.action,
        "avgPrice": plain(shown.avg_px),
        "timeInForce": DAY_IN_ROWS if shown.form.tif == "DAY" else shown.form.tif,
        "order_ref": shown.form.ref,
        "lastExecutionTime_r": updated_ns // MS,
    }
    if shown.limit is not None:
        row["price"] = plain(shown.limit)
    if shown.aux is not None and shown.form.order_type != "TRAIL":
        row["auxPrice" if shown.form.order_type == "STP LMT" else "price"] = plain(shown.aux)
    if shown.form.order_type == "TRAIL" and shown.form.trail_stop is not None:
        row["stop_price"] = plain(shown.form.trail_stop)
    return row


def order_status(placed: Placed, trading: Orders, account: str) -> dict[str, object]:
    """An order by its number: here even sizes are text."""
    shown, line = trading.show(placed), placed.line
    trails, at_ns = shown.form.order_type == "TRAIL", placed.created_ns if placed.order is None else placed.order.updated_ns
    status: dict[str, object] = {
        "sub_type": None,
        "request_id": "209",
        "order_id": placed.perm_id,
        "conidex": str(line.con_id),
        "conid": line.con_id,
        "symbol": line.symbol,
        "side": shown.form.action[0],
        "account": account,
        "size": plain(shown.qty - shown.filled),
        "total_size": plain(shown.qty),
        "cum_fill": plain(shown.filled),
        "currency": line.currency,
        "order_status": shown.status,
        "order_ccp_status": "0",
        "order_status_description": f"Order {shown.status}",
        "tif": DAY_IN_ROWS if shown.form.tif == "DAY" else shown.form.tif,
        "order_type": _SHOWN[shown.form.order_type],
        "order_ref": shown.form.ref,
        "order_time": f"{datetime.fromtimestamp(at_ns // SECOND_NS, UTC):%y%m%d%H%M%S}",
        "average_price": plain(shown.avg_px),
    }
    if shown.limit is not None:
        status["limit_price"] = f"{shown.limit:,f}"
    stop = shown.form.trail_stop if trails else shown.aux
    if stop is not None:
        status["stop_price"] = f"{stop:,f}"
    if trails:
        amount = shown.form.trail_pct if shown.form.trail_pct is not None else shown.form.aux
        status |= {"trailing_amount": plain(amount or Decimal(0)), "trailing_amount_unit": "amt" if shown.form.trail_pct is None else "%"}
    return status


def trade_row(done: Execution, placed: Placed, account: str, *, charged: bool = True) -> dict[str, object]:
    """One execution; at first it says nothing of its commission."""
    line = placed.line
    row: dict[str, object] = {
        "execution_id": done.exec_id,
        "symbol": line.symbol,
        "side": "B" if done.side is Side.BUY else "S",
        "size": _plain(done.qty),
        "price": plain(done.price),
        "trade_time": f"{datetime.fromtimestamp(done.transact_ns // SECOND_NS, UTC):%Y%m%d-%H:%M:%S}",
        "trade_time_r": done.transact_ns // MS,
        "order_ref": placed.form.ref,
        "order_id": placed.perm_id,
        "account": account,
        "conid": str(line.con_id),
        "conidEx": str(line.con_id),
        "sec_type": line.sec_type,
        "exchange": line.primary or line.exchange,
    }
    if charged:
        row["commission"] = plain(done.fee)
    return row


def contract_info(line: Line) -> dict[str, object]:
    return {
        "con_id": line.con_id,
        "symbol": line.symbol,
        "instrument_type": line.sec_type,
        "currency": line.currency,
        "exchange": line.exchange,
        "local_symbol": line.local_symbol,
        "trading_class": line.trading_class,
        "company_name": line.title,
        "maturity_date": line.last_trade or None,
        "right": {"C": "CALL", "P": "PUT"}.get(line.right),
        "strike": plain(line.strike),
        "multiplier": line.multiplier or None,
        "valid_exchanges": line.exchange,
    }


def contract_rules(line: Line) -> dict[str, object]:
    return {
        "algoEligible": False,
        "orderTypes": ["limit", "market", "stop", "stop_limit", "trailing_stop"],
        "tifTypes": ["DAY/o,a", "GTC/o,a", "IOC/o,a"],
        "defaultSize": 100,
        "sizeIncrement": line.size_step,
        "increment": line.min_tick,
        "incrementDigits": 2,
        "incrementRules": [{"lowerEdge": 0, "increment": line.min_tick}],
        "error": None,
    }


def _plain(value: Decimal) -> Decimal:
    return Decimal(plain(value))
