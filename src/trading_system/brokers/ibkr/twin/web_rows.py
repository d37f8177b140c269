"""How the Web API shows what the twin keeps: orders, executions, contracts, positions."""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal

from trading_system.brokers.ibkr.twin.contracts import BAG_CON_ID
from trading_system.brokers.ibkr.twin.forms import Form, Refusal, Shown, Wanted
from trading_system.brokers.ibkr.twin.orders import Orders, Placed, exec_name
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


LEGS = ";;;"


def position_row(row: Mapping[str, object], now_ns: int) -> dict[str, object]:
    """A position as the newer list has it: under other names than in pages, and its contract's number as text."""
    kept = ("position", "currency", "avgCost", "avgPrice", "realizedPnl", "unrealizedPnl", "assetClass")
    return {
        "conid": str(row["conid"]),
        "description": row["contractDesc"],
        "isLastToLoq": False,
        "marketPrice": row["mktPrice"],
        "marketValue": row["mktValue"],
        "secType": row["assetClass"],
        "timestamp": now_ns // SECOND_NS,
        "model": "",
        **{name: row[name] for name in kept},
    }


def form_of(
    asked: Json, order_id: int, account: str, by_id: Callable[[int], Line | None], *, parent_id: int = 0, group: str = "", transmit: bool = True
) -> Form:
    """An order as TWS would have it. Raises Refusal: a field that is missing or none."""
    word = str(asked.get("orderType", ""))
    if word not in TYPES:
        raise Refusal(400, f"Invalid order type: {word}")
    price, aux, trail = (_number(asked, name) for name in ("price", "auxPrice", "trailingAmt"))
    if word == "STP":
        price, aux = None, price
    wanted, legs = _wanted(asked, by_id)
    if asked.get("side") not in ("BUY", "SELL") or "tif" not in asked:
        raise Refusal(400, "Bad Request: conid, side and tif are required")
    percent = asked.get("trailingType") == "%"
    return Form(
        order_id=order_id,
        contract=wanted,
        legs=legs,
        action=str(asked["side"]),
        qty=_number(asked, "quantity") or Decimal(0),
        order_type=TYPES[word],
        limit=price,
        aux=trail if word == "TRAIL" and not percent else aux,
        tif=str(asked["tif"]),
        oca_group=group,
        account=str(asked.get("acctId", account)),
        ref=str(asked.get("cOID", "")),
        transmit=transmit,
        parent_id=parent_id,
        outside_rth=bool(asked.get("outsideRTH", False)),
        oca_type=0,
        trail_stop=None,
        trail_pct=trail if percent else None,
        what_if=False,
        cash_qty=_number(asked, "cashQty"),
    )


def _wanted(asked: Json, by_id: Callable[[int], Line | None]) -> tuple[Wanted, tuple[tuple[int, int, str], ...]]:
    """The contract, or the legs of several. Raises Refusal: neither, or both."""
    named, several = str(asked.get("conid", "")), str(asked.get("conidex", ""))
    if bool(named) == bool(several) or (named and not named.isdecimal()):
        raise Refusal(400, "Bad Request: conid or conidex is required")
    head, is_spread, text = several.partition(LEGS)
    if not is_spread:
        return _named(int(named or head.partition("@")[0]), "", ""), ()
    if head != str(BAG_CON_ID):
        raise Refusal(400, "Bad Request: no such spread")
    try:
        legs = [(int(con_id), int(ratio)) for con_id, ratio in (part.split("/") for part in text.split(","))]
    except ValueError:
        raise Refusal(400, "Bad Request: conidex cannot be read") from None
    first = by_id(legs[0][0])
    symbol = "" if first is None else first.symbol
    return _named(0, symbol, "BAG"), tuple((con_id, abs(ratio), "SELL" if ratio < 0 else "BUY") for con_id, ratio in legs)


def _named(con_id: int, symbol: str, sec_type: str) -> Wanted:
    return Wanted(con_id, symbol, sec_type, "", Decimal(0), "", "", "", "", "", "", "")


def _conidex(placed: Placed) -> str:
    """One contract's number, or those of all legs."""
    parts = [f"{con_id}/{'-' if action == 'SELL' else ''}{ratio}" for con_id, ratio, action in placed.form.legs]
    return f"{placed.line.con_id}{LEGS}{','.join(parts)}" if parts else str(placed.line.con_id)


def _number(asked: Json, name: str) -> Decimal | None:
    value = asked.get(name)
    if value is None:
        return None
    try:
        return Decimal(str(value))
    except ArithmeticError:
        raise Refusal(400, f"Bad Request: {name} is no number") from None


def _sizes(placed: Placed, shown: Shown) -> tuple[Decimal, Decimal]:
    """How much it is, and how much of that is left; of an amount of money what it buys."""
    qty = placed.order.qty if placed.form.cash_qty and placed.order is not None and placed.order.qty is not None else shown.qty
    return qty, qty - shown.filled


def order_row(placed: Placed, trading: Orders, account: str) -> dict[str, object]:
    """A line of live orders; numbers are numbers, prices text."""
    shown, line = trading.show(placed), placed.line
    updated_ns = placed.created_ns if placed.order is None else placed.order.updated_ns
    qty, left = _sizes(placed, shown)
    row: dict[str, object] = {
        "acct": account,
        "account": account,
        "conid": line.con_id,
        "conidex": _conidex(placed),
        "orderId": placed.perm_id,
        "cashCcy": line.currency,
        "ticker": line.symbol,
        "secType": line.sec_type,
        "listingExchange": line.primary or line.exchange,
        "remainingQuantity": _plain(left),
        "filledQuantity": _plain(shown.filled),
        "totalSize": _plain(qty),
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
    if shown.form.cash_qty:
        row["totalCashSize"] = _plain(shown.form.cash_qty)
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
    qty, left = _sizes(placed, shown)
    status: dict[str, object] = {
        "sub_type": None,
        "request_id": "209",
        "order_id": placed.perm_id,
        "conidex": _conidex(placed),
        "conid": line.con_id,
        "symbol": line.symbol,
        "side": shown.form.action[0],
        "account": account,
        "size": plain(left),
        "total_size": plain(qty),
        "total_cash_size": plain(shown.form.cash_qty or Decimal(0)),
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


def trade_row(done: Execution, placed: Placed, line: Line, account: str, *, charged: bool = True) -> dict[str, object]:
    """One execution; at first it says nothing of its commission. Of several legs the sum never does: its legs have theirs."""
    row: dict[str, object] = {
        "execution_id": exec_name(done.exec_id, leg=line is not placed.line),
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
        "conidEx": _conidex(placed) if line is placed.line else str(line.con_id),
        "sec_type": line.sec_type,
        "exchange": line.primary or line.exchange,
    }
    if charged and line.sec_type != "BAG":
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
