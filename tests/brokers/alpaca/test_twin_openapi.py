"""Every answer of the twin against Alpaca's OpenAPI files of 2026-08-13: a walk over the whole surface, refusals included.

Where the files and what was seen of the broker differ, the twin follows what satisfies both: max_options_trading_level is
an integer in the file and null where options are off, so it is 0 then; expires_at is never null in the file, so every order has one. Of a leg's legs
the file says "always null" and means it, with a type that has no null: here they have to be null.
Refusals have no schema: their message is checked.
"""

import base64
import json
import re
from collections.abc import Mapping
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from jsonschema import Draft202012Validator, FormatChecker  # type: ignore[import-untyped]

from tests.brokers.alpaca.option_client import SOON, filled, leg, mleg, near
from tests.brokers.alpaca.twin_client import SECOND, Client
from trading_system.brokers.alpaca import facts, wire
from trading_system.transport.framing import decode_event

EVENTS = "/v2/events/trades?since=2026-11-01"
ACTIVITIES = "/v2beta1/events/activities?since=2026-11-01"
# The file's oneOf cannot tell the forms apart (every object is a TRD, the four of options are one): the type and subtype say which one it has to be.
DETAILS: Mapping[tuple[str, str], str] = {
    ("TRD", ""): "ActivityV2DetailTRD",
    ("DIV", "CDIV"): "CDIVActivityV2",
    ("SPLIT", "FSPLIT"): "ForwardSplitActivityV2",
    ("SPLIT", "RSPLIT"): "ReverseSplitActivityV2",
    ("OPASN", ""): "OPASNActivityV2",
    ("OPEXC", ""): "OPEXCActivityV2",
    ("OPEXP", ""): "OPEXPActivityV2",
    ("OPTRD", ""): "OPTRDActivityV2",
    ("CFEE", ""): "FEEActivityV2",
    ("CSW", ""): "CSWActivityV2",
    ("CSD", ""): "CommonNTAActivityV2",  # it has no form of its own
}
GOLDEN = Path(__file__).parent / "golden"
MULTILEG_EMPTY = {
    "symbol": "-",
    "asset_class": "us_option",
    "side": "buy",
    "position_intent": "buy_to_open",
    "type": "limit",
    "order_type": "limit",
}
SPECS = Path(__file__).parents[4] / "shared" / "specs" / "alpaca"


def _spec(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.load((SPECS / f"{name}.openapi.yaml").read_text(), Loader=yaml.CSafeLoader)
    fixed: dict[str, Any] = _nullable(loaded)
    if "OrderLeg" in fixed["components"]["schemas"]:
        fixed["components"]["schemas"]["OrderLeg"]["properties"]["legs"] = {"type": "null"}
    return fixed


def _nullable(node: Any) -> Any:
    """nullable: true (OpenAPI 3.0, the market data file) becomes a type that includes null."""
    if isinstance(node, dict):
        node = {key: _nullable(value) for key, value in node.items()}
        if node.pop("nullable", False) is True and isinstance(node.get("type"), str):
            node["type"] = [node["type"], "null"]
    elif isinstance(node, list):
        node = [_nullable(value) for value in node]
    return node


class Checked(Client):
    """A client that holds every answer against the file that describes its path."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self._specs = {"trading": _spec("trading"), "data": _spec("market-data")}
        self.checked: dict[str, int] = {}
        self.invalid: list[str] = []

    def send(self, method: str, path: str, body: object = None, *, raw: bytes | None = None, keys: bool = True) -> Any:
        answer = super().send(method, path, body, raw=raw, keys=keys)
        bare = path.split("?")[0]
        spec = self._specs["data" if bare.startswith(("/v2/stocks", "/v1beta3", "/v1beta1")) else "trading"]
        template = self._template(spec, bare)
        schema = self._schema(spec, template, method, answer.status)
        self.checked[f"{method} {template} {answer.status}"] = self.checked.get(f"{method} {template} {answer.status}", 0) + 1
        if answer.status == 204 or (schema is None and answer.status == 200):
            self._note(answer.body is None, f"{method} {template}: a body where none belongs")
        elif schema is None:
            self._note(isinstance(answer.body["message"], str), f"{method} {template} {answer.status}: no message")
        else:
            self.hold(spec, schema, answer.body, f"{method} {path} {answer.status}")
        return answer

    @staticmethod
    def _multileg(body: Any) -> Any:
        """The file's own example of a multileg order leaves empty what is not its own: the rules for these fields are not for it."""
        if isinstance(body, list):
            return [Checked._multileg(one) for one in body]
        if isinstance(body, dict) and isinstance(body.get("order"), dict):
            return body | {"order": Checked._multileg(body["order"])}
        if isinstance(body, dict) and body.get("order_class") == "mleg":
            filled = body | {name: value for name, value in MULTILEG_EMPTY.items() if body[name] == ""} | {"asset_id": body["asset_id"] or body["id"]}
            return filled | {"legs": [Checked._multileg(leg) for leg in body["legs"] or ()]} if body["legs"] else filled
        return body

    def hold(self, spec: Mapping[str, Any], schema: Mapping[str, Any], body: object, where: str) -> None:
        validator = Draft202012Validator({**schema, "components": spec["components"]}, format_checker=FormatChecker())
        for error in validator.iter_errors(self._multileg(body)):
            self.invalid.append(f"{where}: {error.json_path}: {error.message[:200]}")

    def hold_event(self, order: object) -> None:
        self.hold(self._specs["trading"], {"$ref": "#/components/schemas/Order"}, order, "trade_updates")
        self.checked["trade_updates"] = self.checked.get("trade_updates", 0) + 1

    def booked(self, path: str) -> list[dict[str, Any]]:
        """What a firm's reader of activities gets at once."""
        basic = base64.b64encode(f"{self.twin.broker.client_id}:{self.twin.broker.client_secret}".encode()).decode()
        self.twin.drain()
        conn = self.open(path, {"Authorization": f"Basic {basic}"})
        return [json.loads(decode_event(frame).data) for number, frame in self.twin.drain() if number == conn and isinstance(frame, bytes)]

    def hold_server_sent(self, frame: bytes) -> None:
        """One event of GET /v2/events/trades against the Broker API's file."""
        schema = {"$ref": "#/components/schemas/TradeUpdateEventV2"}
        self.hold(self._broker(), schema, json.loads(decode_event(frame).data), "server-sent event")
        self.checked["server-sent event"] = self.checked.get("server-sent event", 0) + 1

    def hold_activity(self, event: Mapping[str, Any]) -> None:
        """One event of GET /v2beta1/events/activities: what all have in common, and the details of its own form with no name that this has not."""
        spec, form = self._broker(), DETAILS[event["activity_type"], event.get("activity_subtype", "")]
        where = f"activity {event['activity_type']} {event.get('activity_subtype', '')}".rstrip()
        common, details = ({"$ref": f"#/components/schemas/{name}"} for name in ("ActivityEventV2CommonFields", form))
        self.hold(spec, common, event, where)
        self.hold(spec, details, event["details"], f"{where} details")
        for given, schema in ((set(event) - {"details"}, common), (set(event["details"]), details)):
            self._note(given <= property_names(spec, schema), f"{where}: {given - property_names(spec, schema)} is not in the file")
        self.checked[where] = self.checked.get(where, 0) + 1

    def _broker(self) -> Mapping[str, Any]:
        """The Broker API's file."""
        if "broker" not in self._specs:
            self._specs["broker"] = _spec("broker")
            for name in ("TradeUpdateEventType", "OrderStatus"):  # the file's prose has it, its lists have forgotten it
                self._specs["broker"]["components"]["schemas"][name]["enum"].append("held")
        return self._specs["broker"]

    def _note(self, fine: bool, text: str) -> None:
        if not fine:
            self.invalid.append(text)

    @staticmethod
    def _template(spec: Mapping[str, Any], path: str) -> str:
        if path in spec["paths"]:
            return path
        found: list[str] = [t for t in spec["paths"] if re.fullmatch(re.sub(r"\{[^}]+\}", "[^/]+", t), path)]
        assert found, f"{path} is not in the OpenAPI file"
        return min(found, key=lambda template: template.count("{"))

    @staticmethod
    def _schema(spec: Mapping[str, Any], template: str, method: str, status: int) -> dict[str, Any] | None:
        responses = spec["paths"][template][method.lower()]["responses"]
        if str(status) not in responses and status < 300:
            raise AssertionError(f"{method} {template} does not answer {status}")
        described = responses.get(str(status), {})
        content = described.get("content", {})
        schema: dict[str, Any] | None = next(iter(content.values()))["schema"] if content else None
        return schema


def property_names(spec: Mapping[str, Any], schema: Mapping[str, Any]) -> set[str]:
    """Every property that a schema, or what it is made of, names."""
    if "$ref" in schema:
        return property_names(spec, spec["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    parts = [*schema.get("allOf", ()), *schema.get("oneOf", ())]
    return set(schema.get("properties", ())).union(*(property_names(spec, part) for part in parts))


def walk(client: Checked) -> None:
    """The whole first-cut surface, and the refusals one can provoke."""
    stream = client.listen()
    for path in ("", "/configurations", "/activities"):
        client.get("/v2/account" + path)
    client.send("PATCH", "/v2/account/configurations", {"no_shorting": True, "unknown": 1})
    client.send("PATCH", "/v2/account/configurations", {"trade_confirm_email": "often"})
    for path in ("/v2/assets", "/v2/assets?asset_class=crypto", "/v2/assets/AAPL", "/v2/assets/BTC%2FUSD", "/v2/clock", "/v2/calendar"):
        client.get(path)
    client.send("GET", "/v2/assets/NOPE")
    _orders(client)
    _complex_orders(client)
    _positions(client)
    client.wait(3600 * 24 * SECOND)
    for query in ("", "?activity_types=FILL,CFEE", "?category=non_trade_activity", "?page_size=2&direction=asc", "?date=2026-11-24"):
        client.get("/v2/account/activities" + query)
    client.get("/v2/account/activities/FILL")
    client.get("/v2/account/activities/CFEE")
    for query in ("", "?period=1D&timeframe=5Min&intraday_reporting=continuous", "?period=1W&timeframe=1D&cashflow_types=ALL"):
        client.get("/v2/account/portfolio/history" + query)
    client.send("GET", "/v2/account/portfolio/history?period=1Y")
    _market_data(client)
    _options(client)
    events = client.open(EVENTS, {facts.KEY_HEADER: client.key, facts.SECRET_HEADER: client.secret})
    client.wait(SECOND)
    for conn, frame in client.twin.drain():
        if conn == stream and frame is not None:
            client.hold_event(json.loads(frame)["data"]["order"])
        elif conn == events and isinstance(frame, bytes):
            client.hold_server_sent(frame)
    client.secret = "wrong"
    client.send("GET", "/v2/account")


def _orders(client: Checked) -> None:
    made = [client.order(client_order_id="m").body, client.order(notional="100").body, client.order(qty="0.5").body]
    made.append(client.order("BTC/USD", tif="gtc", qty="0.05").body)
    made.append(client.order("ETH/USD", tif="ioc", notional=100).body)
    for kind, rest in (
        ("limit", {"limit_price": "1.5", "client_order_id": "l"}),
        ("stop", {"stop_price": 900}),
        ("stop_limit", {"stop_price": 900, "limit_price": 901}),
        ("limit", {"limit_price": 1, "extended_hours": True}),
        ("limit", {"limit_price": 1, "tif": "fok"}),
        ("limit", {"limit_price": 1, "tif": "cls"}),
    ):
        made.append(client.order(kind=kind, **rest).body)
    for order in made:
        client.get(f"/v2/orders/{order['id']}")
    client.get("/v2/orders:by_client_order_id?client_order_id=l")
    for query in (
        "",
        "?status=all&limit=3",
        "?status=closed&direction=asc",
        "?symbols=BTC/USD&status=all",
        f"?after_order_id={made[2]['id']}&status=all",
    ):
        client.get("/v2/orders" + query)
    replaced = client.send("PATCH", f"/v2/orders/{made[5]['id']}", {"qty": 2, "limit_price": 1.25}).body
    client.send("PATCH", f"/v2/orders/{made[5]['id']}", {"qty": 3})
    client.send("DELETE", f"/v2/orders/{replaced['id']}")
    client.send("DELETE", f"/v2/orders/{replaced['id']}")
    client.send("DELETE", "/v2/orders/61e69015-8549-4bfd-b9c3-01e75843f47d")
    client.send("GET", "/v2/orders/61e69015-8549-4bfd-b9c3-01e75843f47d")
    client.order(client_order_id="m")
    client.order(qty="1000000")
    client.order(kind="limit", limit_price="100.123")
    client.send("POST", "/v2/orders", raw=b"{")
    client.send("DELETE", "/v2/orders")


def _complex_orders(client: Checked) -> None:
    """A bracket whose entry waits, one whose exits work, exits alone, an entry with one exit, stops that trail; all of them in every list."""
    prices = {"take_profit": {"limit_price": "650"}, "stop_loss": {"stop_price": "250", "limit_price": "249"}}
    waiting = client.order("MSFT", kind="limit", limit_price="300", order_class="bracket", **prices).body
    working = client.order("MSFT", order_class="bracket", qty="10", **prices).body
    client.order("AMD", qty="4")
    alone = client.order("AMD", side="sell", kind="limit", order_class="oco", qty="2", take_profit={"limit_price": 900}, stop_loss={"stop_price": 60})
    client.order("META", order_class="oto", tif="gtc", stop_loss={"stop_price": "200"})
    trails = [client.order("AMD", side="sell", kind="trailing_stop", tif="gtc", **trail).body for trail in ({"trail_price": 9}, {"trail_percent": 9})]
    for query in ("?nested=true", "?nested=true&status=all", "?nested=false&status=closed"):
        client.get("/v2/orders" + query)
    for order in (waiting, working, working["legs"][0], alone.body, alone.body["legs"][0], *trails):
        client.get(f"/v2/orders/{order['id']}?nested=true")
    client.send("PATCH", f"/v2/orders/{working['legs'][1]['id']}", {"stop_price": "260"})
    client.send("PATCH", f"/v2/orders/{trails[0]['id']}", {"trail": "8"})
    client.send("PATCH", f"/v2/orders/{waiting['id']}", {"qty": "2"})
    client.get(f"/v2/orders/{working['id']}?nested=true")
    client.order("MSFT", order_class="bracket")
    client.order("MSFT", side="sell", qty="1")
    client.send("DELETE", f"/v2/orders/{waiting['legs'][0]['id']}")
    client.send("DELETE", f"/v2/orders/{alone.body['id']}")


def _positions(client: Checked) -> None:
    for path in ("", "/AAPL", "/BTCUSD", "/BTC%2FUSD"):
        client.get("/v2/positions" + path)
    client.send("GET", "/v2/positions/TSLA")
    client.send("DELETE", "/v2/positions/AAPL?qty=1")
    client.send("DELETE", "/v2/positions/BTCUSD?percentage=50")
    client.send("DELETE", "/v2/positions?cancel_orders=true")


def _market_data(client: Checked) -> None:
    start = "start=2026-11-24T15:00:00Z"
    for kind in ("quotes", "trades", "bars"):
        more = "&timeframe=1Min" if kind == "bars" else ""
        client.get(f"/v2/stocks/{kind}/latest?symbols=AAPL,CENT")
        client.get(f"/v2/stocks/AAPL/{kind}/latest")
        client.get(f"/v2/stocks/{kind}?symbols=AAPL,F&{start}&limit=20{more}")
        client.get(f"/v2/stocks/AAPL/{kind}?{start}&limit=20&sort=desc{more}")
        client.get(f"/v1beta3/crypto/us/latest/{kind}?symbols=BTC/USD,DOGE/USD")
        client.get(f"/v1beta3/crypto/us/{kind}?symbols=BTC/USD&{start}&limit=20{more}")
    for frame in ("1Day", "1Week", "3Month", "4Hour", "15T"):
        client.get(f"/v2/stocks/bars?symbols=SPY&timeframe={frame}&start=2026-11-01&limit=5")
    client.get("/v1beta3/crypto/us/latest/orderbooks?symbols=BTC/USD")
    for query in ("", "?symbols=AAPL,BTCUSD&limit=50", "?sort=asc&start=2026-11-20&include_content=true"):
        client.get("/v1beta1/news" + query)
    client.send("GET", "/v1beta1/news?limit=51")
    client.send("GET", "/v2/stocks/bars?symbols=AAPL&timeframe=61Min")
    client.send("GET", "/v2/stocks/quotes/latest?symbols=AAPL&feed=sip")


def _options(client: Checked) -> None:
    contracts = client.get("/v2/options/contracts?underlying_symbols=AAPL,SPY&show_deliverables=true")["option_contracts"]
    client.get("/v2/options/contracts?underlying_symbols=AAPL&expiration_date_gte=2026-12-01&type=put&strike_price_gte=150&limit=3")
    client.get("/v2/options/contracts?status=inactive&underlying_symbols=AAPL&limit=3")
    client.get(f"/v2/options/contracts/{contracts[0]['id']}")
    client.send("GET", "/v2/options/contracts/NOPE261218C00100000")
    symbols = ",".join(row["symbol"] for row in contracts[:20])
    client.get(f"/v1beta1/options/snapshots?symbols={symbols}")
    client.get("/v1beta1/options/snapshots/AAPL?type=call&limit=40")
    client.send("GET", "/v1beta1/options/snapshots/AAPL?feed=opra")
    for kind in ("quotes", "trades"):
        client.get(f"/v1beta1/options/{kind}/latest?symbols={symbols}")
    for query in ("/bars?timeframe=5Min&", "/bars?timeframe=1Day&", "/trades?"):
        client.get(f"/v1beta1/options{query}symbols={symbols}&start=2026-11-24T15:00:00Z&limit=30")
    _option_orders(client)


def _option_orders(client: Checked) -> None:
    """Noon of the day before Thanksgiving."""
    client.order("AAPL", qty="100")
    low, high = near(client, away=-10), near(client)
    for symbol, side, kind, rest in (
        (low, "buy", "market", {}),
        (high, "sell", "limit", {"limit_price": 500}),
        (low, "buy", "limit", {"limit_price": "0.05"}),
        (high, "sell", "market", {"notional": 100}),
        ("AAPL261218C00000500", "buy", "market", {}),
    ):
        client.order(symbol, side, kind, **rest)
    client.wait(60 * SECOND)
    legs = [leg(near(client, "put"), "sell_to_open"), leg(near(client, "put", away=-10), "buy_to_open")]
    resting = mleg(client, *legs, limit="-9").body
    client.get(f"/v2/orders/{resting['id']}")
    client.get(f"/v2/orders/{resting['legs'][0]['id']}")
    client.get("/v2/orders?status=all&nested=true")
    client.send("DELETE", f"/v2/orders/{resting['id']}")
    mleg(client, *legs)
    mleg(client, legs[0])
    client.wait(60 * SECOND)
    client.get("/v2/positions")
    client.get(f"/v2/positions/{low}")
    client.send("POST", f"/v2/positions/{low}/exercise")
    client.send("POST", f"/v2/positions/{low}/exercise")
    client.send("POST", f"/v2/positions/{high}/do-not-exercise")
    client.get("/v2/account")
    client.get("/v2/account/activities?category=non_trade_activity")
    client.send("DELETE", "/v2/positions?cancel_orders=true")


@pytest.mark.skipif(not SPECS.exists(), reason="the brokers' OpenAPI files are not beside this checkout")
def test_every_answer_is_what_alpaca_describes(capsys: pytest.CaptureFixture[str]) -> None:
    client = Checked(hours="us")
    walk(client)
    with capsys.disabled():
        total = sum(client.checked.values())
        print(f"\nOpenAPI: {total} answers of {len(client.checked)} kinds checked, {len(client.invalid)} invalid")

    assert client.invalid == []
    assert len(client.checked) >= 50


@pytest.mark.skipif(not SPECS.exists(), reason="the brokers' OpenAPI files are not beside this checkout")
def test_the_check_notices_what_is_wrong() -> None:
    client = Checked()
    order = client.order().body
    client.hold_event(order | {"status": "gone"})
    client.hold_event(order | {"qty": 1})
    client.hold_event(order | {"id": "no uuid"})
    client.hold_event(order | {"legs": [order | {"legs": [order]}]})

    assert len(client.invalid) == 4


def book_everything(client: Checked) -> None:
    """Whatever this account can have booked, until options have ended on Friday."""
    client.order("BTC/USD", tif="gtc", qty="0.05")
    client.order("AAPL", qty="100")
    client.order("F", qty="40")
    taken, left, sold = (near(client, expiry=SOON, away=away) for away in (-10, 20, -5))
    for symbol, side, qty in ((taken, "buy", "1"), (left, "buy", "2"), (sold, "sell", "1")):
        filled(client, symbol, side, qty)
    busted = next(execution for execution in client.twin.exchange.executions.values() if execution.symbol == "BTC/USD")
    client.twin.exchange.bust(busted.exec_id, client.now_ns)
    client.order("BTC/USD", tif="gtc", qty="0.02")
    client.send("POST", f"/v2/positions/{taken}/exercise")
    client.twin.assign(sold, Decimal(1))
    client.twin.transfer(Decimal(5_000))
    client.twin.transfer(Decimal(-700))
    client.twin.dividend("F", Decimal("0.15"))
    client.twin.split("F", Decimal(2))
    client.twin.split("F", Decimal("0.25"))
    client.wait(4 * 24 * 3600 * SECOND)


@pytest.mark.skipif(not SPECS.exists(), reason="the brokers' OpenAPI files are not beside this checkout")
def test_everything_that_is_booked_is_streamed_as_alpaca_describes() -> None:
    client = Checked(hours="us")
    book_everything(client)
    for event in client.booked(ACTIVITIES):
        client.hold_activity(event)

    assert client.invalid == []
    assert {name for name in client.checked if name.startswith("activity")} == {" ".join(("activity", *kind)).rstrip() for kind in DETAILS}


@pytest.mark.skipif(not SPECS.exists(), reason="the brokers' OpenAPI files are not beside this checkout")
def test_the_samples_of_activities_and_the_names_we_read_are_alpacas() -> None:
    client = Checked()
    for name in ("activity_event_trade", "activity_event_dividend"):
        client.hold_activity(json.loads((GOLDEN / f"{name}.json").read_text()))
    event = property_names(client._broker(), {"$ref": "#/components/schemas/ActivityEventV2"})
    forms = ({"$ref": f"#/components/schemas/ActivityV2Detail{form}"} for form in ("TRD", "NTA"))
    details = set().union(*(property_names(client._broker(), form) for form in forms))

    assert client.invalid == []
    assert set(wire.ActivityEvent.__struct_fields__) <= event
    assert set(wire.ActivityDetails.__struct_fields__) <= details


@pytest.mark.skipif(not SPECS.exists(), reason="the brokers' OpenAPI files are not beside this checkout")
def test_the_check_notices_what_is_wrong_with_an_activity() -> None:
    client = Checked()
    trade, dividend = (json.loads((GOLDEN / f"activity_event_{name}.json").read_text()) for name in ("trade", "dividend"))
    client.hold_activity({name: value for name, value in trade.items() if name != "settle_date"})
    client.hold_activity(trade | {"ref_id": "no uuid"})
    client.hold_activity(trade | {"invented": "1"})
    client.hold_activity(trade | {"details": trade["details"] | {"execution_type": "partial_fill"}})
    client.hold_activity(dividend | {"details": dividend["details"] | {"group": "1"}})

    assert len(client.invalid) == 5
