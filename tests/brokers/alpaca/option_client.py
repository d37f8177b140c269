"""Orders of options on a twin: contracts found by how far they are from the money."""

from decimal import Decimal
from typing import Any

from tests.brokers.alpaca.twin_client import Answer, Client

D = Decimal
CONTRACTS = "/v2/options/contracts"
DATA = "/v1beta1/options"
EXPIRY = "2026-12-18"
SOON = "2026-11-27"  # the Friday after Thanksgiving: ends at 13:00


def stock_px(client: Client, symbol: str = "AAPL") -> float:
    quote = client.get(f"/v2/stocks/quotes/latest?symbols={symbol}")["quotes"][symbol]
    return float(quote["bp"] + quote["ap"]) / 2


def near(client: Client, right: str = "call", *, expiry: str = EXPIRY, away: float = 0, underlying: str = "AAPL") -> str:
    """The contract nearest to the money, or so far above it."""
    query = f"underlying_symbols={underlying}&expiration_date={expiry}&type={right}&limit=1000"
    spot = stock_px(client, underlying) + away
    rows = client.get(f"{CONTRACTS}?{query}")["option_contracts"]
    return str(min(rows, key=lambda row: abs(float(row["strike_price"]) - spot))["symbol"])


def strike(symbol: str) -> Decimal:
    return D(symbol[-8:]) / 1000


def quote(client: Client, symbol: str) -> Any:
    return client.get(f"{DATA}/quotes/latest?symbols={symbol}")["quotes"][symbol]


def filled(client: Client, symbol: str, side: str = "buy", qty: str = "1") -> Any:
    """An order that the market fills at once."""
    made = client.order(symbol, side=side, qty=qty)
    assert made.status == 200, made.body
    client.wait(60_000_000_000)
    row = client.get(f"/v2/orders/{made.body['id']}")
    assert row["status"] == "filled", row
    return row


def leg(symbol: str, intent: str, ratio: object = "1") -> dict[str, object]:
    return {"symbol": symbol, "ratio_qty": ratio, "side": intent.partition("_")[0], "position_intent": intent}


def mleg(client: Client, *legs: dict[str, object], limit: object = None, qty: str = "1", **rest: object) -> Answer:
    kind: dict[str, object] = {"type": "market"} if limit is None else {"type": "limit", "limit_price": limit}
    return client.send("POST", "/v2/orders", {"order_class": "mleg", "qty": qty, "time_in_force": "day", "legs": list(legs)} | kind | rest)


def cash(client: Client) -> Decimal:
    return D(client.get("/v2/account")["cash"])


def position(client: Client, symbol: str) -> Decimal:
    answer = client.send("GET", f"/v2/positions/{symbol}")
    return D(answer.body["qty"]) if answer.status == 200 else D(0)
