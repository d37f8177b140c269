"""Every answer of the twin against the OpenAPI file of ../shared/specs/oanda: a walk over the whole surface.

The file is OANDA's own, of 2018: it says which fields there are and of what kind. What came later is not in it. It requires none: every field
that the twin sends has to be one that the file has.
"""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft4Validator  # type: ignore[import-untyped]

from tests.brokers.oanda.twin_client import SECOND, Client
from trading_system.transport.message import Response

SPEC = Path(__file__).parents[4] / "shared" / "specs" / "oanda" / "v20.openapi.json"
pytestmark = pytest.mark.skipif(not SPEC.exists(), reason="the OpenAPI file is not beside this checkout (../shared)")
NEWER = frozenset({"errorCode", "errorMessage"})  # stand in the prose of every error
KINDS = {  # what a transaction of a type is called in the file
    "ORDER_FILL": "OrderFillTransaction",
    "ORDER_CANCEL": "OrderCancelTransaction",
    "ORDER_CANCEL_REJECT": "OrderCancelRejectTransaction",
    "DAILY_FINANCING": "DailyFinancingTransaction",
    "TRANSFER_FUNDS": "TransferFundsTransaction",
    "CREATE": "CreateTransaction",
    "MARGIN_CALL_ENTER": "MarginCallEnterTransaction",
    "MARGIN_CALL_EXIT": "MarginCallExitTransaction",
}


def kind_of(entry: dict[str, Any]) -> str:
    """MARKET_ORDER_REJECT is a MarketOrderRejectTransaction."""
    words = "".join(word.capitalize() for word in entry["type"].split("_"))
    return KINDS.get(entry["type"], f"{words}Transaction")


class Checked(Client):
    """A client that holds every answer against the file."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.spec = json.loads(SPEC.read_text())
        self.checked: set[str] = set()
        self.invalid: list[str] = []

    def send(self, method: str, path: str, body: object = None, **headers: str) -> Response:
        response = super().send(method, path, body, **headers)
        self._hold(method.lower(), (path if path.startswith("/v3") else self.account + path).removeprefix("/v3").partition("?")[0], response)
        return response

    def _hold(self, method: str, path: str, response: Response) -> None:
        found = [(name, item) for name, item in self.spec["paths"].items() if method in item and _fits(name, path)]
        found.sort(key=lambda pair: pair[0].count("{"))  # transactions/sinceid before transactions/{transactionID}
        if not found or str(response.status) not in (responses := found[0][1][method]["responses"]):
            return
        name = found[0][0]
        self.checked.add(f"{method} {name} {response.status}")
        told = json.loads(response.body)
        schema = responses[str(response.status)].get("schema")
        if schema is None:
            return
        for error in Draft4Validator({**schema, "definitions": self.spec["definitions"]}).iter_errors(told):
            self.invalid.append(f"{method} {name} {list(error.absolute_path)}: {error.message[:200]}")
        self._fields(f"{method} {name}", told, schema)

    def _fields(self, where: str, told: Any, schema: dict[str, Any]) -> None:
        """Whether the file has every field, the more special kinds of orders and transactions included."""
        schema = self.spec["definitions"][schema["$ref"].rpartition("/")[2]] if "$ref" in schema else schema
        if isinstance(told, list):
            for entry in told:
                self._fields(where, entry, schema.get("items", {}))
        elif isinstance(told, dict):
            known = schema.get("properties", {})
            if "accountID" in told and "type" in told:
                known = self.spec["definitions"][kind_of(told)]["properties"]
                self._valid(where, told, kind_of(told))
            elif "createTime" in told and "type" in told:
                name = "".join(word.capitalize() for word in told["type"].split("_")) + "Order"
                known = self.spec["definitions"][name]["properties"]
                self._valid(where, told, name)
            for field, value in told.items():
                if field not in known:
                    if field not in NEWER:
                        self.invalid.append(f"{where}: {field} is not in the file")
                else:
                    self._fields(f"{where} {field}", value, known[field])

    def _valid(self, where: str, told: dict[str, Any], name: str) -> None:
        schema = {**self.spec["definitions"][name], "definitions": self.spec["definitions"]}
        for error in Draft4Validator(schema).iter_errors(told):
            self.invalid.append(f"{where} {name} {list(error.absolute_path)}: {error.message[:200]}")


def _fits(name: str, path: str) -> bool:
    wanted, given = name.split("/"), path.split("/")
    return len(wanted) == len(given) and all(part.startswith("{") or part == other for part, other in zip(wanted, given, strict=True))


def test_every_answer_is_one_that_the_file_describes() -> None:
    client = Checked()
    high, low = client.near(1.05), client.near(0.95)
    told = client.order("1000", takeProfitOnFill={"price": high}, stopLossOnFill={"price": low}, trailingStopLossOnFill={"distance": "0.05000"})
    trade = told["orderFillTransaction"]["id"]
    client.order("-400", instrument="USD_JPY")
    client.order("100", "MARKET_IF_TOUCHED", price=low)
    client.order("100", "STOP", price=high, priceBound=high)
    resting = client.order("100", "LIMIT", price=low, clientExtensions={"id": "a", "comment": "c"})["orderCreateTransaction"]["id"]
    client.send("PUT", f"/orders/{resting}", {"order": {"type": "LIMIT", "instrument": "EUR_USD", "units": "200", "price": low}})
    client.order("90000000")
    client.bad_order(units="0")
    client.refused("PUT", "/orders/99999/cancel")
    client.refused("GET", "/orders/99999")
    client.refused("GET", "/trades/99999")
    client.refused("GET", "/transactions/sinceid?id=99999")
    client.send("PUT", f"/trades/{trade}/orders", {"stopLoss": {"price": client.near(0.94)}, "takeProfit": None})
    client.send("PUT", f"/trades/{trade}/clientExtensions", {"clientExtensions": {"id": "t", "tag": "x"}})
    client.send("PATCH", "/configuration", {"alias": "Second", "marginRate": "0.05"})
    client.send("PATCH", "/configuration", {"marginRate": "7"})
    client.wait(8 * 3600 * SECOND)
    client.send("PUT", f"/trades/{trade}/close", {"units": "500"})
    client.send("PUT", "/positions/EUR_USD/close", {"longUnits": "ALL", "shortUnits": "NONE"})
    for path in (
        "/v3/accounts", "", "/summary", "/instruments", "/orders?state=ALL", "/pendingOrders", f"/orders/{resting}", "/trades?state=ALL",
        "/openTrades",
        f"/trades/{trade}", "/positions", "/openPositions", "/positions/USD_JPY", "/changes?sinceTransactionID=1", "/transactions",
        "/transactions/1", "/transactions/idrange?from=1&to=5", "/transactions/sinceid?id=1", "/pricing?instruments=EUR_USD,USD_JPY",
        "/v3/instruments/EUR_USD/candles?price=MBA&granularity=M5",
    ):  # fmt: skip
        assert client.send("GET", path).status == 200, path

    assert client.invalid == [], "\n".join(client.invalid)
    assert len(client.checked) >= 28, sorted(client.checked)


def test_calls_closeouts_turns_and_guarantees_are_in_the_file_too() -> None:
    client = Checked(guaranteed_stops=True, fifo=True)
    client.order("100000", stopLossOnFill={"price": client.near(0.99), "guaranteed": True})
    newer = client.order("50000")["orderFillTransaction"]["id"]
    client.send("PUT", f"/trades/{newer}/close")
    client.twin.transfer(Decimal(-98_500))
    client.wait(120 * SECOND)
    client.send("PUT", "/positions/EUR_USD/close", {"shortUnits": "ALL"})
    for path in ("", "/orders?state=ALL", "/trades?state=ALL", "/positions", "/changes?sinceTransactionID=1", "/transactions/sinceid?id=1"):
        assert client.send("GET", path).status == 200, path
    kinds = {entry["type"] for entry in client.get("/transactions/sinceid", id=1)["transactions"]}

    assert client.invalid == [], "\n".join(client.invalid)
    assert {"MARGIN_CALL_ENTER", "MARGIN_CALL_EXIT"} <= kinds
