"""What the connector asks and the twin takes, against Bybit's OpenAPI files, which describe requests alone; answers against the published samples.

The files were last touched in 2023. What is newer than they are, and stands in the documents, is named in NEWER.
"""

import asyncio
import json
from collections.abc import Mapping
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import yaml  # type: ignore[import-untyped]
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

from tests.brokers.bybit.test_connector import BTC, PAIR, SOL, WIDE, mid, wish
from tests.brokers.bybit.twin_client import SECOND, Client
from tests.desks import Bench, on_bench, settled
from tests.subjects import BYBIT
from trading_system.brokers.bybit import facts
from trading_system.domain.fix import OrdType, Side
from trading_system.domain.ids import IntentID
from trading_system.domain.order import Attached, Replace
from trading_system.sim.clock import SECOND_NS, START_NS
from trading_system.transport.message import Request, Response

D = Decimal
SPECS = Path(__file__).parents[4] / "shared" / "specs" / "bybit"
GOLDEN = Path(__file__).parent / "golden"
NEWER = {"/v5/order/create": {"marketUnit"}, "/v5/order/cancel-all": {"orderFilter"}}
needs_specs = pytest.mark.skipif(not SPECS.exists(), reason="Bybit's OpenAPI files are not beside this repository")


def described() -> Mapping[tuple[str, str], Any]:
    """Every operation of every file, by method and path."""
    files = [yaml.load(path.read_text(), Loader=yaml.CSafeLoader) for path in SPECS.glob("*.yaml")]
    return {(method.upper(), path): found for file in files for path, methods in file["paths"].items() for method, found in methods.items()}


def wrong(spec: Mapping[tuple[str, str], Any], request: Request) -> list[str]:
    """What the files say against a request."""
    url = urlsplit(request.url)
    operation = spec.get((request.method, url.path))
    if operation is None:
        return [f"{request.method} {url.path} is not in the files"]
    if request.method == "POST":
        schema, body = operation["requestBody"]["content"]["application/json"]["schema"], json.loads(request.body)
        odd = body.keys() - schema["properties"].keys() - NEWER.get(url.path, set())
        return [f"{url.path}: {name} is no field" for name in odd] + [
            f"{url.path}: {error.message}" for error in Draft202012Validator(schema).iter_errors(body)
        ]
    query = dict(parse_qsl(url.query))
    known = {one["name"]: one for one in operation.get("parameters", []) if one["in"] == "query"}
    found = [f"{url.path}: {name} is no parameter" for name in query.keys() - known.keys()]
    found += [f"{url.path}: {name} is missing" for name, one in known.items() if one.get("required") and name not in query]
    for name in query.keys() & known.keys():
        allowed = known[name]["schema"].get("enum")
        if allowed and query[name] not in map(str, allowed):
            found.append(f"{url.path}: {name}={query[name]}")
    return found


class Ear:
    """Between the network and the twin: it hears every request."""

    def __init__(self, twin: Any, heard: list[Request]) -> None:
        self._twin, self._heard = twin, heard

    def __getattr__(self, name: str) -> Any:
        return getattr(self._twin, name)

    def handle(self, request: Request, now_ns: int) -> Response:
        self._heard.append(request)
        answer: Response = self._twin.handle(request, now_ns)
        return answer


@needs_specs
def test_everything_that_is_asked_is_in_the_files(tmp_path: Path) -> None:
    heard: list[Request] = []

    async def story(bench: Bench) -> None:
        async with bench.desk(WIDE) as desk:
            connector, price, coin = desk.brokers[BYBIT.broker], await mid(desk), await mid(desk, PAIR)
            await settled(desk, await desk.submit(wish("a", "10")))
            await settled(desk, await desk.submit(wish("b", "10", Side.SELL)))
            await settled(desk, await desk.submit(wish("c", "0.01", instrument=PAIR)))
            low, high = (coin * D("0.98")).quantize(D("0.1")), (coin * D("1.03")).quantize(D("0.1"))
            first = await desk.submit(wish("d", "0.01", instrument=PAIR, price=low))
            stop = await desk.submit(wish("e", "0.01", instrument=PAIR, ord_type=OrdType.STOP, stop_px=high))
            swap = await desk.submit(wish("f", "1", ord_type=OrdType.STOP_LIMIT, stop_px=price + 5, price=price + 5))
            exits = Attached(take_profit_px=price + 20, stop_px=price - 20, stop_limit_px=price - 21)
            await settled(desk, await desk.submit(wish("i", "2", attached=exits)))
            await asyncio.sleep(1)
            await desk.replace(Replace(cl_ord_id=first.cl_ord_id, price=low - 1, intent=IntentID("g")))
            await desk.replace(Replace(cl_ord_id=swap.cl_ord_id, stop_px=price + 4, intent=IntentID("h")))
            await desk.cancel(stop.cl_ord_id)
            await desk.flatten()
            await connector.instruments()
            await connector.quote(SOL)
            await connector.trade(PAIR)
            await connector.fills(START_NS)
            await connector.bars(BTC, 60 * SECOND_NS, START_NS - 3_600 * SECOND_NS, START_NS)

    on_bench(tmp_path, story, subject=BYBIT, between=lambda twin: Ear(twin, heard))
    spec = described()
    asked = {urlsplit(request.url).path for request in heard}

    assert [text for request in heard for text in wrong(spec, request)] == []
    assert {"/v5/order/create", "/v5/order/amend", "/v5/order/cancel", "/v5/execution/list", "/v5/account/transaction-log"} <= asked
    assert asked <= {path for _, path in spec}


@needs_specs
def test_the_twin_serves_what_the_connector_counts_and_knows_no_other_paths() -> None:
    spec, client = described(), Client()
    served = [(method, path) for method, path in spec if _served(client, method, path)]

    assert set(facts.PER_SECOND) <= {path for _, path in served}
    assert len(served) >= 20
    assert not _served(client, "POST", "/v5/asset/transfer/inter-transfer")


def _served(client: Client, method: str, path: str) -> bool:
    client.wait(SECOND)
    return (client.post(path) if method == "POST" else client.ask(path)).code != 10017


def test_answers_have_the_fields_of_the_published_samples() -> None:
    client = Client()
    client.create(qty="0.2", orderLinkId="a")
    client.create(price="80000", qty="0.1")
    client.create(category="spot", qty="0.01")
    client.wait(SECOND)
    conn = client.listen("order", "execution")
    client.create(qty="0.1")
    client.wait(SECOND)
    told = {frame["topic"]: frame for frame in client.frames(conn)}
    linear = {"category": "linear", "symbol": "BTCUSDT"}
    answers = {
        "order": client.get("/v5/order/realtime", **linear)["list"][0],
        "execution": client.get("/v5/execution/list", **linear)["list"][0],
        "position": client.get("/v5/position/list", **linear)["list"][0],
        "wallet": client.get("/v5/account/wallet-balance", accountType="UNIFIED")["list"][0],
        "instruments_linear": client.get("/v5/market/instruments-info", **linear)["list"][0],
        "instrument_spot": client.get("/v5/market/instruments-info", category="spot", symbol="BTCUSDT")["list"][0],
        "instrument_option": client.get("/v5/market/instruments-info", category="option")["list"][0],
        "ticker_option": client.get("/v5/market/tickers", category="option", baseCoin="BTC")["list"][0],
        "orderbook": client.get("/v5/market/orderbook", **linear),
        "print": client.get("/v5/market/recent-trade", **linear)["list"][0],
        "fee_rate": client.get("/v5/account/fee-rate", **linear)["list"][0],
        "account_info": client.get("/v5/account/info"),
        "key_info": client.get("/v5/user/query-api"),
        "server_time": client.get("/v5/market/time"),
        "stream_order": told["order"]["data"][0],
        "stream_execution": told["execution"]["data"][0],
    }

    for name, answer in answers.items():
        sample = json.loads((GOLDEN / f"{name}.json").read_text())
        with suppress(KeyError):
            sample = sample["result"]["list"][0]
        with suppress(KeyError):
            sample = sample["data"][0]
        assert answer.keys() - NEWER_FIELDS.get(name, set()) <= sample.keys(), name
        for field in answer.keys() & sample.keys():
            assert isinstance(answer[field], type(sample[field])), f"{name}.{field}"


NEWER_FIELDS = {
    "order": {"category", "createType", "marketUnit", "parentOrderLinkId"},
    "stream_order": {"createType", "marketUnit", "isLeverage", "parentOrderLinkId"},
    "execution": {"category", "marketUnit", "createType"},
    "position": {"category"},
    "key_info": {"createdAt"},
    "instrument_spot": {"launchTime", "deliveryTime"},
}
