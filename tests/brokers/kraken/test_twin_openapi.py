"""Every answer of the twin against the OpenAPI and AsyncAPI files of ../shared/specs/kraken: a walk over the whole surface.

The files are a third party's derivation of the documentation, with examples that were made up: they say which fields there are and of what kind, no
more, and the dossier wins. nextfee, nextvolume and tiervolume are null at the ends of the schedule, which Kraken's own sample shows and the file does
not; numbers that the AsyncAPI file calls strings are numbers in Kraken's samples.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml  # type: ignore[import-untyped]
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tests.brokers.kraken.twin_client import SECOND, Client

SPECS = Path(__file__).parents[4] / "shared" / "specs" / "kraken"
pytestmark = pytest.mark.skipif(not SPECS.exists(), reason="the OpenAPI files are not beside this checkout (../shared)")
NULLABLE = ("nextfee", "nextvolume", "tiervolume", "refid", "cl_ord_id", "userref", "reason")
MISSING = ("GetApiKeyInfo", "AmendOrder")  # newer than the file, where it has none of them


def _loose(node: Any, name: str = "") -> Any:
    """Without examples; what may be null may be."""
    if isinstance(node, dict):
        node = {key: _loose(value, key) for key, value in node.items() if key not in ("example", "examples")}
        if name in NULLABLE and isinstance(node.get("type"), str):
            node["type"] = [node["type"], "null"]
        return node
    return [_loose(value) for value in node] if isinstance(node, list) else node


class Checked(Client):
    """A client that holds every answer against the file that describes its path."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.spec = _loose(yaml.load((SPECS / "kraken-spot-rest-openapi.yml").read_text(), Loader=yaml.CSafeLoader))
        self.checked: set[str] = set()
        self.unknown: set[str] = set()
        self.invalid: list[str] = []

    def public(self, name: str, **query: object) -> dict[str, Any]:
        return self._hold(f"/0/public/{name}", "get", super().public(name, **query))

    def private(self, name: str, form: dict[str, object] | None = None, **more: object) -> dict[str, Any]:
        return self._hold(f"/0/private/{name}", "post", super().private(name, form, **more))

    def _hold(self, path: str, method: str, answer: dict[str, Any]) -> dict[str, Any]:
        if path not in self.spec["paths"]:
            self.unknown.add(path.rpartition("/")[2])
            return answer
        self.checked.add(path.rpartition("/")[2])
        schema = self.spec["paths"][path][method]["responses"]["200"]["content"]["application/json"]["schema"]
        for error in Draft202012Validator({**schema, "components": self.spec["components"]}).iter_errors(answer):
            self.invalid.append(f"{path} {list(error.absolute_path)}: {error.message[:200]}")
        return answer


def test_every_answer_is_one_that_the_file_describes() -> None:
    client = Checked()
    client.wait(60 * SECOND)
    for name, query in (
        ("Time", {}),
        ("SystemStatus", {}),
        ("Assets", {}),
        ("AssetPairs", {}),
        ("Ticker", {"pair": "XBTUSD,ETHUSD"}),
        ("OHLC", {"pair": "XBTUSD"}),
        ("Depth", {"pair": "XBTUSD"}),
        ("Trades", {"pair": "XBTUSD"}),
        ("Spread", {"pair": "XBTUSD"}),
    ):
        assert client.public(name, **query)["error"] == []
    assert client.public("Ticker", pair="NOBODY")["error"]
    filled, resting = client.placed("market"), client.placed(price=client.near(0.98), cl_ord_id="mine")
    stop = client.placed("stop-loss", "sell", "0.05", price=client.near(0.9))
    assert client.refused(volume="1000", price=client.near(0.98))
    exec_id = next(iter(client.get("TradesHistory")["trades"]))
    ledger_id = next(iter(client.get("Ledgers")["ledger"]))
    for name, form in (
        ("Balance", {}),
        ("BalanceEx", {}),
        ("TradeBalance", {}),
        ("OpenOrders", {"trades": "true"}),
        ("AmendOrder", {"txid": resting, "order_qty": "0.2"}),
        ("CancelOrder", {"txid": resting}),
        ("ClosedOrders", {"trades": "true"}),
        ("QueryOrders", {"txid": f"{filled},{resting},{stop}", "trades": "true"}),
        ("QueryTrades", {"txid": exec_id}),
        ("QueryLedgers", {"id": ledger_id}),
        ("OpenPositions", {}),
        ("TradeVolume", {"pair": "XBTUSD"}),
        ("CancelAllOrdersAfter", {"timeout": "60"}),
        ("CancelAll", {}),
        ("GetWebSocketsToken", {}),
        ("GetApiKeyInfo", {}),
    ):
        assert client.private(name, dict(form))["error"] == [], name

    assert [problem for problem in client.invalid if "OpenPositions" not in problem] == []  # [] when there are none, which the file does not know
    assert client.unknown <= set(MISSING)
    assert len(client.checked) >= 22


CHANNELS = {"ticker": "TickerEnvelope", "book": "BookEnvelope", "ohlc": "OHLCEnvelope", "trade": "TradeEnvelope"}


@pytest.mark.parametrize("channel", CHANNELS)
def test_every_public_frame_is_one_that_the_file_describes(channel: str) -> None:
    spec = _loose(yaml.load((SPECS / "kraken-asyncapi.yml").read_text(), Loader=yaml.CSafeLoader))
    client = Client()
    conn = client.open()
    client.frame(conn, "subscribe", channel=channel, symbol=["BTC/USD"], snapshot=True)
    client.wait(5 * SECOND)
    frames = [frame for frame in client.frames(conn) if frame.get("channel") == channel]
    validator = Draft202012Validator({"$ref": f"#/components/schemas/{CHANNELS[channel]}", "components": spec["components"]})

    assert {frame["type"] for frame in frames} == {"snapshot", "update"}
    assert [error.message for frame in frames for error in validator.iter_errors(json.loads(json.dumps(frame)))] == []
