"""The desk over HTTP, on a twin: what comes out has the shape that is written down, who may not is refused, what is asked once is done once."""

import asyncio
import json
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest

from tests.web.served import made_twin, served
from trading_system.domain.errors import BadRequest
from trading_system.web import server as module
from trading_system.web.guard import BODY_MAX
from trading_system.web.openapi import document
from trading_system.web.page import ASSETS
from trading_system.web.routes import JSON, ROUTES, Route
from trading_system.web.server import Listening
from trading_system.web.shapes import Failed
from trading_system.web.tokens import Scope

BUY = {"instrument": "AAPL", "side": "buy", "order_qty": "2"}
QUERIES = {  # of the addresses that want one
    "quote": "?instrument=AAPL",
    "book": "?instrument=AAPL",
    "bars": "?instrument=AAPL&count=3",
    "chain": "?instrument=AAPL&strikes=2",
    "stream": "?instruments=AAPL",
    "plan": "?paths=200",
}


def path_of(route: Route) -> str:
    return route.path.replace("{cl_ord_id}", "q1aaaaaaaaaaaaaaaa") + QUERIES.get(route.name, "")


async def test_every_address_is_for_those_who_may_and_nobody_else(tmp_path: Path) -> None:
    async with served(tmp_path) as desk:
        late = desk.server.tokens.add("late", [Scope.READ], desk.desk.clock.now_ns() - 2 * 86_400_000_000_000, 1)
        answers: dict[tuple[str, str], list[int]] = {}
        for route in ROUTES:
            if route.scope is None:
                continue
            others = desk.with_scopes(*(scope for scope in Scope if scope is not route.scope), name=f"not {route.scope}")
            for caller_token in ("", "x" * 43, late, others.token):
                desk.server._failed.clear()
                authorization = f"Bearer {caller_token}" if caller_token else ""
                status, found = await desk.caller.ask(route.method, path_of(route), Authorization=authorization)
                assert msgspec.convert(found, Failed).happened == "no"
                answers.setdefault((route.method, route.path), []).append(status)

        assert answers == {(route.method, route.path): [401, 401, 401, 403] for route in ROUTES if route.scope is not None}
        assert {route.path for route in ROUTES if route.scope is None} == {"/v1/session", "/healthz"}


async def test_what_comes_out_has_the_shape_that_is_written_down(tmp_path: Path) -> None:
    async with served(tmp_path) as desk:
        caller = desk.caller
        bought = await caller.ask("POST", "/v1/orders", BUY)
        rests = await caller.ask("POST", "/v1/orders", {**BUY, "price": 150, "time_in_force": "gtc"})
        changed = await caller.ask("PATCH", f"/v1/orders/{rests[1]['cl_ord_id']}", {"price": "151"})
        desk.desk.alert("warning", "a strategy failed")
        await asyncio.sleep(0.3)
        seen = {}
        for route in ROUTES:
            if route.method == "GET" and route.media == JSON and route.name != "book":
                seen[route.name] = await caller.get(path_of(route))
                msgspec.convert(seen[route.name], route.answer)
        for _, found in (bought, rests, changed):
            msgspec.convert(found, type=ROUTES_BY_NAME["submit"].answer)

        assert [order[1]["ord_status"] for order in (bought, rests)] == ["filled", "new"]
        assert [row["cl_ord_id"] for row in seen["orders"]] == [changed[1]["cl_ord_id"]]
        assert (sum(float(fill["qty"]) for fill in seen["fills"]), seen["positions"][0]["qty"], len(seen["alerts"])) == (2, "2", 1)
        assert seen["portfolio"]["positions"][0]["worth"] == seen["portfolio"]["long"]
        assert {row["name"] for row in seen["limits"]["limits"]} >= {"day_loss", "drawdown", "leverage"}
        assert [row["strike"] for row in seen["chain"]["options"]]
        assert 0 <= seen["plan"]["simulated"]["p_touch"] <= 1

        status, book = await caller.ask("GET", "/v1/book?instrument=AAPL")
        gone = await caller.ask("DELETE", f"/v1/orders/{changed[1]['cl_ord_id']}")
        unseen = await caller.ask("POST", "/v1/alerts", {"number": 0})
        flat = await caller.ask("POST", "/v1/flatten", {"confirm": "flatten"})
        for name, (_, found) in {"cancel": gone, "acknowledge": unseen, "flatten": flat}.items():
            msgspec.convert(found, type=ROUTES_BY_NAME[name].answer)

        assert (status, book["kind"]) == (400, "BadRequest")
        assert (gone[1][0]["ord_status"], unseen[1], flat[1]) == ("canceled", [], {"positions": [], "orders": [], "problems": []})


ROUTES_BY_NAME = {route.name: route for route in ROUTES}


async def test_a_halt_over_http_holds_and_is_cleared_by_who_may(tmp_path: Path) -> None:
    async with served(tmp_path) as desk:
        phone = desk.with_scopes(Scope.HALT, name="phone")
        halted = await phone.ask("POST", "/v1/halt", {"level": "halt", "text": "from the beach"})
        refused = await desk.caller.ask("POST", "/v1/orders", BUY)
        read = await phone.ask("GET", "/v1/risk")
        not_the_word = await desk.caller.ask("POST", "/v1/resume", {"confirm": "yes"})
        resumed = await desk.caller.ask("POST", "/v1/resume", {"confirm": "resume"})
        bought = await desk.caller.ask("POST", "/v1/orders", BUY)

        assert (halted[0], halted[1]["text"], refused[0], refused[1]["kind"]) == (200, "from the beach by phone-halt", 422, "Halted")
        assert (read[0], not_the_word[0], resumed[1]["halts"], bought[1]["ord_status"]) == (403, 400, [], "filled")


async def test_a_key_is_one_order_however_often_and_over_a_restart_of_the_desk(tmp_path: Path) -> None:
    async with made_twin() as twin:
        async with served(tmp_path, twin=twin) as desk:
            at_once = await asyncio.gather(*(desk.caller.ask("POST", "/v1/orders", BUY, key="k") for _ in range(4)))
            other = await desk.caller.ask("POST", "/v1/orders", {**BUY, "order_qty": 3}, key="k")
            same = await desk.caller.ask("POST", "/v1/orders", b' {"side": "buy", "order_qty": 2, "instrument": "AAPL"}', key="k")
            forgotten = desk.folder / "web-answers.sqlite"
        async with served(tmp_path, twin=twin) as desk:
            again = await desk.caller.ask("POST", "/v1/orders", BUY, key="k")
            fills = await desk.caller.get("/v1/fills")
        for path in forgotten.parent.glob("web-answers.sqlite*"):
            path.unlink()  # as if the crash had come before anything was kept: the journal knows the intent
        async with served(tmp_path, twin=twin) as desk:
            once_more = await desk.caller.ask("POST", "/v1/orders", BUY, key="k")

        assert {status for status, _ in at_once} == {200}
        assert {found["cl_ord_id"] for _, found in (*at_once, same, again, once_more)} == {at_once[0][1]["cl_ord_id"]}
        assert (other[0], other[1]["kind"]) == (409, "OtherBody")
        assert sum(float(fill["qty"]) for fill in fills) == 2


async def test_names_and_pages_of_others_are_refused_on_every_method(tmp_path: Path) -> None:
    async with served(tmp_path) as desk:
        own = desk.server.url.removeprefix("http://").rstrip("/")
        port = own.rpartition(":")[2]
        statuses = {}
        for route in ROUTES:
            for name, headers in {
                "another host": {"Host": "desk.attacker.example"},
                "another port": {"Host": "127.0.0.1:1"},
                "no port": {"Host": "127.0.0.1"},
                "another origin": {"Origin": "https://attacker.example"},
                "null": {"Origin": "null"},
                "another port's origin": {"Origin": "http://127.0.0.1:1"},
                "a page of another site": {"Sec-Fetch-Site": "cross-site"},
            }.items():
                statuses[route.name, name] = (await desk.caller.ask(route.method, path_of(route), **headers))[0]
        fine = [
            await desk.caller.ask("GET", "/v1/status", Host=f"localhost:{port}"),
            await desk.caller.ask("GET", "/v1/status", Origin=f"http://{own}"),
        ]

        assert set(statuses.values()) == {403}
        assert [status for status, _ in fine] == [200, 200]


async def test_a_proxy_at_the_usual_port_may_call_it_by_its_name(tmp_path: Path) -> None:
    async with served(tmp_path, listening=Listening(hosts=("desk.example.org",))) as desk:
        by_name = {"Host": "desk.example.org", "Origin": "https://desk.example.org"}
        status, _ = await desk.caller.ask("GET", "/v1/status", **by_name)
        other, _ = await desk.caller.ask("GET", "/v1/status", Host="example.org")
        async with aiohttp.ClientSession() as browser:
            opened = await browser.post(f"{desk.server.url}v1/session", json={"token": desk.caller.token}, headers=by_name)

        assert (status, other, opened.status, "Secure" in opened.headers["Set-Cookie"]) == (200, 403, 200, True)


async def test_a_browser_logs_in_with_a_cookie_that_scripts_cannot_read_and_writes_from_this_page_only(tmp_path: Path) -> None:
    async with served(tmp_path) as desk:
        origin = {"Origin": desk.server.url.rstrip("/")}
        url = desk.server.url.rstrip("/")
        async with aiohttp.ClientSession(cookie_jar=aiohttp.CookieJar(unsafe=True)) as browser:
            wrong = await browser.post(f"{url}/v1/session", json={"token": "x" * 43})
            opened = await browser.post(f"{url}/v1/session", json={"token": desk.caller.token})
            cookie = opened.headers["Set-Cookie"]
            (value,) = (item.value for item in browser.cookie_jar)
            halt = {"json": {"scope": "all"}}
            without = await browser.post(f"{url}/v1/halt", headers={"Idempotency-Key": "1"}, **halt)  # type: ignore[arg-type]
            within = await browser.post(f"{url}/v1/halt", headers={"Idempotency-Key": "2", **origin}, **halt)  # type: ignore[arg-type]
            as_token = await desk.caller.ask("GET", "/v1/status", Authorization=f"Bearer {value}")
            read = await browser.get(f"{url}/v1/status")
            closed = await browser.delete(f"{url}/v1/session", headers=origin)
            after = await browser.get(f"{url}/v1/status")
            page = await browser.get(f"{url}/")

        assert (wrong.status, opened.status, without.status, within.status, read.status) == (401, 200, 403, 200, 200)
        assert all(word in cookie for word in ("HttpOnly", "SameSite=Strict", "Path=/"))
        assert (as_token[0], closed.status, after.status) == (401, 200, 401)
        assert all(rule in page.headers["Content-Security-Policy"] for rule in ("default-src 'self'", "frame-ancestors 'none'"))
        assert (page.headers["X-Content-Type-Options"], desk.caller.token in await page.text()) == ("nosniff", False)


async def test_wrong_tokens_are_slowed_down_and_the_right_one_still_comes_in(tmp_path: Path) -> None:
    async with served(tmp_path) as desk:
        statuses = [(await desk.caller.ask("GET", "/v1/status", Authorization=f"Bearer wrong{number}"))[0] for number in range(12)]

        assert statuses == [401] * 10 + [429] * 2
        assert (await desk.caller.ask("GET", "/v1/status"))[0] == 200


async def test_bodies_and_queries_that_make_no_sense_are_refused_before_anything_is_done(tmp_path: Path) -> None:
    async with served(tmp_path) as desk:
        ask = desk.caller.ask
        deep = b"[" * 9 + b"]" * 9
        found = {
            "no key": await ask("POST", "/v1/orders", BUY, key="  "),
            "too long": await ask("POST", "/v1/orders", b" " * (BODY_MAX + 1)),
            "too deep": await ask("POST", "/v1/orders", deep),
            "no json": await ask("POST", "/v1/orders", b"{"),
            "no utf-8": await ask("POST", "/v1/orders", b'{"instrument": "\xff"}'),
            "a form": await ask("POST", "/v1/orders", b"side=buy", **{"Content-Type": "application/x-www-form-urlencoded"}),
            "a field that is not known": await ask("POST", "/v1/orders", {**BUY, "stop_lossx": 1}),
            "no number": await ask("POST", "/v1/orders", {**BUY, "order_qty": "NaN"}),
            "no instrument": await ask("POST", "/v1/orders", {**BUY, "instrument": "???"}),
            "a body where none is": await ask("DELETE", "/v1/orders/q1aaaaaaaaaaaaaaaa", BUY),
            "an order that is not there": await ask("DELETE", "/v1/orders/q1aaaaaaaaaaaaaaaa"),
            "a query that is not known": await ask("GET", "/v1/orders?al=true"),
            "a query twice": await ask("GET", "/v1/orders?all=true&all=false"),
            "a query where none is": await ask("GET", "/v1/risk?x=1"),
            "arming on paper": await ask("POST", "/v1/arm", {"account": "1", "max_notional": 1, "until_ns": 1}),
            "no such event": await ask("GET", "/v1/events?types=fill"),
            "an event to come": await ask("GET", "/v1/events?after=99999999"),
            "no such broker": await ask("GET", "/v1/stream?instruments=AAPL&broker=kraken"),
            "no address": await ask("GET", "/v1/nothing"),
            "no such method": await ask("PUT", "/v1/orders", BUY),
        }
        kinds = {name: status for name, (status, _) in found.items()}

        assert kinds == {
            **dict.fromkeys(found, 400),
            "too long": 413,
            "a form": 415,
            "no address": 404,
            "no such method": 405,
        }
        assert all(msgspec.convert(answer, Failed).happened == "no" for _, answer in found.values())
        assert await desk.caller.get("/v1/orders?all=true") == []


async def test_a_bug_leaves_a_number_and_its_words_go_to_the_log_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def buggy(*_: object) -> object:
        raise RuntimeError("the secret of Polichinelle")

    async with served(tmp_path) as desk:
        monkeypatch.setattr(module, "VERBS", {**module.VERBS, "status": buggy})
        status, found = await desk.caller.ask("GET", "/v1/status")

        assert (status, found["kind"], found["happened"], "Polichinelle" in str(found), len(found["id"]) > 10) == (500, "Bug", "unknown", False, True)


async def test_an_address_that_others_can_reach_needs_a_certificate(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="WEB_TLS_CERT"):
        async with served(tmp_path, listening=Listening(host="0.0.0.0")):
            pass
    with pytest.raises(BadRequest, match="cannot be used"):
        async with served(tmp_path, listening=Listening(host="0.0.0.0", certificate=tmp_path / "none", key=tmp_path / "none")):
            pass


async def test_the_page_and_its_files_come_from_here_alone(tmp_path: Path) -> None:
    async with served(tmp_path) as desk:
        for path, (kind, _) in ASSETS.items():
            async with desk.session.get(desk.server.url.rstrip("/") + path) as answer:
                text = await answer.text()
                assert (answer.status, answer.content_type) == (200, kind)
                foreign = [word for word in ("http://", "https://", "innerHTML", "eval(") if word in text.replace("http://www.w3.org/", "")]
                assert foreign == []


def test_the_document_names_every_address_with_what_it_answers() -> None:
    found: dict[str, Any] = json.loads(json.dumps(document()))
    operations = [(path, method) for path, methods in found["paths"].items() for method in methods]

    assert found["openapi"] == "3.1.0"
    assert sorted(operations) == sorted((route.path, route.method.lower()) for route in ROUTES)
    assert all("401" in methods[method]["responses"] for path, methods in found["paths"].items() for method in methods)
    assert found["components"]["schemas"]["PlaceOrder"]["additionalProperties"] is False
