"""Every answer of the twin against the JSON schemas of ../shared/specs/tradier: a walk over what they describe.

They are a third party's, made for a client that always gets arrays and no tags: an object that stands alone is put into an array first, further
fields are let pass, and what the dossier shows as left out or null may be. The dossier wins.
"""

import json
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tests.brokers.tradier.test_twin import CALLS
from tests.brokers.tradier.twin_client import Client

SPECS = Path(__file__).parents[4] / "shared" / "specs" / "tradier"
pytestmark = pytest.mark.skipif(not SPECS.exists(), reason="the schemas are not beside this checkout (../shared)")
NULLABLE = ("open", "high", "low", "close", "greeks")
LEFT_OUT = ("page", "total_pages", "total_orders", "total_events", "total_positions")


def _loose(node: Any) -> Any:
    if isinstance(node, dict):
        node = {key: _loose(value) for key, value in node.items() if key != "additionalProperties"}
        if "required" in node:
            node["required"] = [name for name in node["required"] if name not in LEFT_OUT]
        for name, kind in node.get("properties", {}).items():
            if name in NULLABLE and isinstance(kind, dict) and isinstance(kind.get("type"), str):
                kind["type"] = [kind["type"], "null"]
        return node
    return [_loose(value) for value in node] if isinstance(node, list) else node


def _arrays(node: Any, schema: Any, root: Any) -> Any:
    """The same answer with arrays where the schema knows nothing else."""
    if isinstance(schema, dict) and "$ref" in schema:
        found = root
        for name in schema["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        schema = found
    if not isinstance(schema, dict):
        return node
    if schema.get("type") == "array":
        return [_arrays(row, schema.get("items"), root) for row in (node if isinstance(node, list) else [node])]
    if isinstance(node, dict):
        return {name: _arrays(value, schema.get("properties", {}).get(name), root) for name, value in node.items()}
    return node


class Checked(Client):
    """A client that holds answers against a schema."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.invalid: list[str] = []
        self.checked: set[str] = set()

    def hold(self, name: str, path: str, **form: object) -> Any:
        schema = _loose(json.loads((SPECS / f"{name}.schema.json").read_text()))
        answer = self.get(path, **form)
        self.checked.add(name)
        for error in Draft202012Validator(schema).iter_errors(_arrays(answer, schema, schema)):
            self.invalid.append(f"{name} {list(error.absolute_path)}: {error.message[:200]}")
        return answer


def test_every_answer_is_one_that_the_schemas_describe() -> None:
    client = Checked(environment="live")
    account = f"accounts/{client.twin.account_number}"
    client.place(tag="a", quantity=5)
    client.wait(1)
    client.place(side="sell", quantity=2)
    client.place(type="limit", price="100", duration="gtc")
    client.place(type="stop_limit", price="900", stop="890", duration="gtc", symbol="SPY")
    legs = {"option_symbol[0]": CALLS[0], "side[0]": "buy_to_open", "quantity[0]": 1, "option_symbol[1]": CALLS[1], "side[1]": "sell_to_open"}
    client.place(**{"class": "multileg", "type": "debit", "price": "12", "quantity[1]": 1}, **legs)
    client.place(side="buy_to_cover", symbol="SPY")  # rejected
    client.wait(60)
    orders = client.hold("get_account_orders", f"{account}/orders")["orders"]["order"]
    assert {row["status"] for row in orders} == {"open", "filled", "rejected"}
    client.hold("get_user_profile", "user/profile")
    client.hold("get_quotes", "markets/quotes", symbols=f"AAPL,{CALLS[0]},NOBODY", greeks="true")
    client.hold("get_option_chains", "markets/options/chains", symbol="AAPL", expiration="2026-12-18", greeks="true")
    client.hold("get_option_expirations", "markets/options/expirations", symbol="AAPL", strikes="true")
    client.hold("get_timesales", "markets/timesales", symbol="AAPL", interval="15min", start="2026-11-24 10:00")
    client.hold("get_history", "markets/history", symbol="AAPL", start="2026-11-20")
    client.hold("get_calendar", "markets/calendar", month="11", year="2026")
    client.hold("get_lookup", "markets/lookup", q="a")
    client.wait(86_400)
    client.hold("get_account_history", f"{account}/history")
    client.hold("get_account_gainloss", f"{account}/gainloss")

    assert client.invalid == []
    assert client.checked == {path.name.removesuffix(".schema.json") for path in SPECS.glob("*.schema.json")}


def test_every_refusal_has_the_sentence_of_the_list() -> None:
    from trading_system.brokers.tradier.twin.forms import CODES

    published = json.loads((SPECS / "response-codes.json").read_text())

    assert {code: text for code, text in CODES.items() if published.get(code) != text} == {}
