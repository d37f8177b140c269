"""Every answer of the twin against Binance's OpenAPI file of 2024: a walk over its whole REST side, refusals included.

The file is frozen, and older than what Binance's pages say now. Where the two differ the twin follows the pages, and OUTDATED says where and why:
each entry must still be needed, so that it goes when the file is renewed.
"""

from collections import Counter
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tests.brokers.binance.test_lists import oco, otoco
from tests.brokers.binance.twin_client import SECOND, Answer, Client
from trading_system.brokers.binance import facts
from trading_system.brokers.binance.twin import METHODS, ROUTES

SPEC = Path(__file__).parents[4] / "shared" / "specs" / "binance" / "spot_api.yaml"
_FILTERS = "the file asks every filter for the fields of PRICE_FILTER"
_NO_STOP = "the file asks every order of a list for a stop price; the pages' own sample has a LIMIT_MAKER without"
OUTDATED: Mapping[tuple[str, str], str] = {
    ("GET /api/v3/exchangeInfo", "minPrice"): _FILTERS,
    ("GET /api/v3/exchangeInfo", "maxPrice"): _FILTERS,
    ("GET /api/v3/exchangeInfo", "tickSize"): _FILTERS,
    ("GET /api/v3/historicalTrades", "400"): "the file knows no refusal of it",
    ("GET /api/v3/ticker/24hr", "."): "the file has no form for MINI",
    ("GET /api/v3/aggTrades", "T"): "the file calls this time a yes or no",
    ("POST /api/v3/order/cancelReplace", "409"): "a cancel-replace of which half was done came later",
    ("POST /api/v3/orderList/oco", "stopPrice"): _NO_STOP,
    ("DELETE /api/v3/orderList", "stopPrice"): _NO_STOP,
    ("DELETE /api/v3/openOrders", "stopPrice"): _NO_STOP,
    ("GET /api/v3/allOrderList", "isIsolated"): "a field of margin lists, which the pages do not have on spot",
}


class Checked(Client):
    """A client that holds every answer against the file that describes its path."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._spec: Mapping[str, Any] = _any_of(yaml.load(SPEC.read_text(), Loader=yaml.CSafeLoader))
        self.checked: Counter[str] = Counter()
        self.invalid: list[str] = []
        self.excused: Counter[tuple[str, str]] = Counter()

    def raw(self, method: str, path: str, body: str = "") -> Answer:
        answer = super().raw(method, path, body)
        bare = path.split("?")[0]
        if method == "DELETE" and isinstance(answer.body, dict) and "orderReports" in answer.body:
            bare = "orderList"  # one order of a list took the list along: the pages say that the answer is the list
        template = bare if bare.startswith("/sapi") else f"{facts.API}/{bare.lstrip('/')}"
        where = f"{method} {template}"
        self.checked[f"{where} {answer.status}"] += 1
        described = self._spec["paths"].get(template, {}).get(method.lower())
        if described is None:
            self._excuse((where, "path"), f"{where} is not in the file")
            return answer
        content = described["responses"].get(str(answer.status), {}).get("content")
        if content is None:
            self._excuse((where, str(answer.status)), f"{where} has no {answer.status}")
            return answer
        schema = {**content["application/json"]["schema"], "components": self._spec["components"]}
        for error in Draft202012Validator(schema).iter_errors(answer.body):
            for leaf in _leaves(error):
                self._excuse((where, _name(leaf)), f"{where}: {leaf.json_path}: {leaf.message[:200]}")
        return answer

    def _excuse(self, key: tuple[str, str], text: str) -> None:
        if key in OUTDATED:
            self.excused[key] += 1
        else:
            self.invalid.append(f"{key}: {text}")


def _any_of(node: Any) -> Any:
    """The file's forms of an answer contain one another: exactly one of them never fits."""
    if isinstance(node, dict):
        return {("anyOf" if key == "oneOf" else key): _any_of(value) for key, value in node.items()}
    return [_any_of(value) for value in node] if isinstance(node, list) else node


def _leaves(error: Any) -> list[Any]:
    """What is wrong inside, where a schema has several forms: of the form that fits best."""
    if not error.context:
        return [error]
    forms: dict[int, list[Any]] = {}
    for inner in error.context:
        forms.setdefault(inner.schema_path[0], []).append(inner)
    return [leaf for inner in min(forms.values(), key=len) for leaf in _leaves(inner)]


def _name(error: Any) -> str:
    """Which field it is about, wherever in the answer."""
    if error.validator == "required":
        return str(error.message).split("'")[1]
    fields = [part for part in error.absolute_path if isinstance(part, str)]
    return fields[-1] if fields else "."


def walk(client: Checked) -> None:
    """Everything that the twin answers."""
    for path in ("ping", "time", "exchangeInfo"):
        client.get(path)
    for path in ("exchangeInfo", "depth", "trades", "historicalTrades", "aggTrades", "avgPrice", "ticker/24hr", "ticker/bookTicker", "ticker/price"):
        client.get(path, symbol="ETHUSDT")
        client.send("GET", path, signed=False, symbol="NOPE")
    for path in ("klines", "uiKlines"):
        client.get(path, symbol="ETHUSDT", interval="1m", limit=3)
        client.send("GET", path, signed=False, symbol="ETHUSDT")
    for path in ("ticker/24hr", "ticker/bookTicker", "ticker/price"):
        client.get(path)
    client.get("ticker/24hr", symbol="ETHUSDT", type="MINI")
    for path in ("account", "rateLimit/order", "openOrders", "openOrderList", "allOrderList"):
        client.get(path, signed=True)
    client.get("account/commission", signed=True, symbol="ETHUSDT")
    client.order()
    client.order(kind="LIMIT", price=client.price("1.001"), newOrderRespType="ACK", quantity="1")
    client.send("POST", "order/test", symbol="ETHUSDT", side="BUY", type="MARKET", quantity="0.1")
    rests = client.order(kind="LIMIT", price=client.price("0.9"), newOrderRespType="RESULT").body
    client.order("SELL", "STOP_LOSS", quantity="0.1", stopPrice=client.price("0.9"), newOrderRespType="FULL")
    client.order("SELL", "STOP_LOSS", quantity="0.1", trailingDelta="50")
    client.order(quantity="0")
    _changes(client, rests["orderId"])
    _lists(client)
    for path in ("allOrders", "openOrders", "myTrades"):
        assert client.get(path, signed=True, symbol="ETHUSDT")
        client.send("GET", path, symbol="NOPE")
    client.send("DELETE", "openOrders", symbol="ETHUSDT")
    client.send("DELETE", "openOrders", symbol="ETHUSDT")
    _wallet(client)
    client.key = "x" * 64
    for path in ("account", "order", "myTrades"):
        client.send("GET", path, symbol="ETHUSDT")


def _changes(client: Checked, order_id: int) -> None:
    client.get("order", signed=True, symbol="ETHUSDT", orderId=order_id)
    fresh = {"symbol": "ETHUSDT", "side": "BUY", "type": "LIMIT", "timeInForce": "GTC", "quantity": "0.2", "price": client.price("0.91")}
    replaced = client.send("POST", "order/cancelReplace", cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=order_id, **fresh).body
    client.send("POST", "order/cancelReplace", cancelReplaceMode="STOP_ON_FAILURE", cancelOrderId=order_id, **fresh)
    client.send("POST", "order/cancelReplace", cancelReplaceMode="ALLOW_FAILURE", cancelOrderId=order_id, **fresh)
    client.send("DELETE", "order", symbol="ETHUSDT", orderId=replaced["newOrderResponse"]["orderId"])
    client.send("DELETE", "order", symbol="ETHUSDT", orderId=replaced["newOrderResponse"]["orderId"])
    client.send("GET", "order", symbol="ETHUSDT", orderId=1)


def _lists(client: Checked) -> None:
    listed = oco(client, "0.1").body
    client.get("orderList", signed=True, orderListId=listed["orderListId"])
    client.send("DELETE", "orderList", symbol="ETHUSDT", orderListId=listed["orderListId"])
    client.send("DELETE", "orderList", symbol="ETHUSDT", orderListId=listed["orderListId"])
    waits = otoco(client, at="0.9").body
    client.send("DELETE", "order", symbol="ETHUSDT", orderId=waits["orders"][0]["orderId"])
    oco(client, "100")
    otoco(client, workingType="MARKET")
    oto = {"workingType": "LIMIT", "workingSide": "BUY", "workingPrice": client.price("0.9"), "workingQuantity": "0.1", "workingTimeInForce": "GTC"}
    stop = {"pendingType": "STOP_LOSS", "pendingSide": "SELL", "pendingQuantity": "0.09", "pendingStopPrice": client.price("0.8")}
    client.send("POST", "orderList/oto", symbol="ETHUSDT", **oto, **stop)
    client.send("POST", "orderList/oto", symbol="ETHUSDT", **oto)
    client.get("openOrderList", signed=True)
    client.get("allOrderList", signed=True)
    client.send("GET", "orderList", orderListId=1)


def _wallet(client: Checked) -> None:
    client.twin.transfer(Decimal(5))
    client.twin.transfer(Decimal(-5))
    for path in (facts.KEY_RIGHTS_PATH, facts.DEPOSITS_PATH, facts.WITHDRAWALS_PATH):
        assert client.get(path, signed=True)


@pytest.mark.skipif(not SPEC.exists(), reason="Binance's OpenAPI file is not here")
def test_every_answer_is_valid_by_binances_own_file() -> None:
    client = Checked(environment="live")
    walk(client)
    client.wait(SECOND)
    asked = {key.rpartition(" ")[0].replace(f"{facts.API}/", "") for key in client.checked}

    assert client.invalid == []
    assert set(client.excused) == set(OUTDATED)
    assert {f"{method} {path}" for method, path in ROUTES} <= asked
    assert set(METHODS.values()) <= set(ROUTES)
    assert sum(client.checked.values()) > 70
