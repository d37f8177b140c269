"""The page in headless Chromium: what a person sees and does, and what hostile pages, names and texts get."""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from tests.web.browser import NEEDS_BROWSER, Page, browser
from tests.web.served import Served, made_twin, served
from trading_system.core.risk import Level
from trading_system.web.server import Listening
from trading_system.web.tokens import Scope

pytestmark = [NEEDS_BROWSER, pytest.mark.timeout(120)]

SHOTS = os.environ.get("PAGE_SHOTS")  # a folder: the tests leave pictures there for a person to look at
XSS = (
    "<script>window.pwned=1</script>",
    "<img src=x onerror=window.pwned=1>",
    '"><svg onload=window.pwned=1>',
    "javascript:window.pwned=1",
    "'-window.pwned=1-'",
    "{{constructor.constructor('window.pwned=1')()}}",
    "<iframe srcdoc='<script>parent.pwned=1</script>'>",
)


async def shot(page: Page, name: str) -> None:
    if SHOTS:
        await page.shot(Path(SHOTS) / f"{name}.png")


async def log_in(page: Page, desk: Served, token: str = "") -> None:
    await page.open(desk.server.url)
    await page.until("!document.querySelector('#login').hidden")
    await page.type("#token", token or desk.caller.token)
    await page.press("Enter")
    await page.until("!document.querySelector('#desk').hidden && document.querySelector('#link').innerText === 'up to date'")


async def test_what_happens_shows_without_a_reload_and_nothing_comes_from_elsewhere(tmp_path: Path) -> None:
    async with served(tmp_path) as desk, browser(tmp_path) as page:
        await page.look(width=1400, height=1200)
        await page.open(desk.server.url)
        await page.until("!document.querySelector('#login').hidden")
        await shot(page, "login")
        await page.type("#token", "no such token")
        await page.press("Enter")
        await page.until("document.querySelector('#login-error').innerText.includes('not valid')")
        await page.run("document.querySelector('#token').value = ''")
        page.errors.clear()
        await log_in(page, desk)

        assert await page.text("#kind") == "PAPER"
        await page.until("document.querySelector('#equity').innerText.startsWith('100,000.00')")
        for body in (
            {"instrument": "AAPL", "side": "buy", "order_qty": 3},
            {"instrument": "AAPL", "side": "buy", "order_qty": 1, "price": 150, "time_in_force": "gtc"},
        ):
            assert (await desk.caller.ask("POST", "/v1/orders", body))[0] == 200
        desk.desk.alert("warning", "the moon is full")
        await page.until("document.querySelector('#positions').innerText.includes('AAPL')")
        await page.until("document.querySelector('#orders').innerText.includes('150.00')")
        await page.until("document.querySelector('#alerts').innerText.includes('the moon is full')")
        await page.until("document.querySelectorAll('#candles rect').length > 20 && document.querySelector('#quote').innerText.includes('bid')")
        await page.until("document.querySelector('#candles path title')?.textContent.startsWith('buy 3 at')")
        await shot(page, "paper")
        await page.look(width=1400, height=1200, dark=True)
        await shot(page, "paper-dark")
        await page.click("#alerts button")
        await page.until("document.querySelector('#alerts').innerText.includes('Nothing waits')")
        await page.click("#orders button")
        await page.until("document.querySelector('#orders').innerText.includes('No order works')")
        hosts = {url.split("/")[2] for url in page.requests if url.startswith("http")}

        assert hosts == {desk.server.url.split("/")[2]}
        assert [error for error in page.errors if "401" not in error] == []
        assert desk.desk.books.alerts == {}


async def test_halt_and_flatten_want_the_word_typed(tmp_path: Path) -> None:
    async with served(tmp_path) as desk, browser(tmp_path) as page:
        await desk.caller.ask("POST", "/v1/orders", {"instrument": "AAPL", "side": "buy", "order_qty": 2})
        await page.look(width=1400, height=1000)
        await log_in(page, desk)
        await page.press("f")
        await page.until("document.querySelector('#ask').open")
        await page.type("#ask-word", "flaten")
        wrong = await page.run("document.querySelector('#ask-yes').disabled")
        await page.press("Enter")
        await page.press("Escape")
        await page.until("!document.querySelector('#ask').open")
        held = [str(position.qty) for position in (await desk.desk.refresh_account(next(iter(desk.desk.brokers)))).positions]
        await page.click("#flatten")
        await page.type("#ask-word", "flatten")
        await shot(page, "flatten")
        await page.press("Enter")
        await page.until("!document.querySelector('#ask').open && document.querySelector('#positions').innerText.includes('Nothing is held')", 30)
        await page.press("h")
        await page.until("document.querySelector('#ask').open")
        await page.type("#ask-word", "halt")
        await page.press("Enter")
        await page.until("document.querySelector('#halts').innerText.includes('HALTED all')")
        await shot(page, "halted")
        may_resume = await page.run("!document.querySelector('#resume').hidden")
        await page.click("#resume")
        await page.type("#ask-word", "resume")
        await page.press("Enter")
        await page.until("document.querySelector('#halts').innerText === ''")

        assert (wrong, held, may_resume, dict(desk.desk.books.halts)) == (True, ["2"], True, {})


async def test_a_token_that_may_only_read_can_press_nothing(tmp_path: Path) -> None:
    async with served(tmp_path) as desk, browser(tmp_path) as page:
        reader = desk.with_scopes(Scope.READ, name="reader")
        await desk.caller.ask("POST", "/v1/orders", {"instrument": "AAPL", "side": "buy", "order_qty": 1, "price": 150})
        await log_in(page, desk, reader.token)
        await page.until("document.querySelector('#orders button') !== null")
        disabled = await page.run("['#halt', '#flatten', '#orders button'].map(name => document.querySelector(name).disabled)")
        await page.press("h")
        opened = await page.run("document.querySelector('#ask').open")

        assert (disabled, opened) == ([True, True, True], False)


async def test_texts_of_others_stay_texts(tmp_path: Path) -> None:
    async with served(tmp_path) as desk, browser(tmp_path) as page:
        for text in XSS:
            desk.desk.alert("critical", text)
        await desk.desk.halt("all", Level.HALT, XSS[1])
        await log_in(page, desk)
        await page.until(f"document.querySelectorAll('#alerts .line').length === {len(XSS)}")
        shown = await page.text("#alerts")
        await page.run(f"document.querySelector('#instrument').value = {json.dumps(XSS[1])}")
        await page.run("document.querySelector('#instrument').dispatchEvent(new Event('change'))")
        inline = "const s = document.createElement('script'); s.textContent = 'window.pwned = 2'; document.body.append(s)"
        await page.run(inline)
        await page.run("const a = document.createElement('a'); a.setAttribute('onclick', 'window.pwned = 3'); document.body.append(a); a.click()")
        await asyncio.sleep(0.5)

        assert all(text in shown for text in XSS)
        assert await page.run("window.pwned ?? null") is None
        assert await page.run("document.querySelectorAll('main img, main iframe, main script').length") == 0
        assert any("Content Security Policy" in error for error in page.errors)  # the two that were tried by hand


@asynccontextmanager
async def hostile(target: str) -> AsyncIterator[str]:
    """Another site on this machine, whose page tries everything against the desk."""
    script = f"""
    window.tried = (async () => {{
      const target = {json.dumps(target)};
      const how = [
        ['json', {{ headers: {{ 'Content-Type': 'application/json', 'Idempotency-Key': 'x' }} }}],
        ['text', {{ headers: {{ 'Content-Type': 'text/plain' }} }}],
        ['blind', {{ mode: 'no-cors' }}],
      ];
      const found = {{}};
      for (const [name, what] of how) {{
        try {{
          const answer = await fetch(target + 'v1/halt', {{ method: 'POST', credentials: 'include', body: '{{}}', ...what }});
          found[name] = answer.type + answer.status;
        }} catch {{ found[name] = 'refused'; }}
      }}
      try {{ found.read = await (await fetch(target + 'v1/status', {{ credentials: 'include' }})).text(); }} catch {{ found.read = 'refused'; }}
      const form = document.createElement('form');
      form.method = 'POST'; form.action = target + 'v1/halt'; form.target = 'frame';
      const frame = document.createElement('iframe'); frame.name = 'frame'; document.body.append(frame, form); form.submit();
      const page = document.createElement('iframe'); page.src = target; document.body.append(page);
      await new Promise(done => setTimeout(done, 1500));
      try {{ found.framed = page.contentDocument === null ? 'opaque' : page.contentDocument.title; }} catch {{ found.framed = 'opaque'; }}
      return found;
    }})();
    """

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=f"<!doctype html><body><script>{script}</script>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", answer)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://localhost:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_a_page_of_another_site_gets_nothing_though_the_browser_is_logged_in(tmp_path: Path) -> None:
    async with served(tmp_path) as desk, browser(tmp_path) as page:
        await log_in(page, desk)
        for target in (desk.server.url, desk.server.url.replace("127.0.0.1", "localhost")):  # the second is the same site to the browser
            async with hostile(target) as url:
                await page.open(url)
                found = await page.run("window.tried")

            assert (found["json"], found["text"], found["read"]) == ("refused", "refused", "refused")
            assert found["blind"] in ("refused", "opaque0")
            assert found["framed"] == "opaque"
        assert dict(desk.desk.books.halts) == {}


async def test_a_name_that_is_pointed_here_later_gets_nothing(tmp_path: Path) -> None:
    """DNS rebinding: the attacker's own name resolves to this machine by now, so that his page is of the same origin."""
    async with served(tmp_path) as desk, browser(tmp_path, "--host-resolver-rules=MAP rebind.example 127.0.0.1") as page:
        port = desk.server.url.rstrip("/").rpartition(":")[2]
        await page.open(f"http://rebind.example:{port}/")
        first = await page.run("document.body.innerText")
        asked = await page.run(
            f"fetch('/v1/session', {{ method: 'POST', headers: {{ 'Content-Type': 'application/json' }},"
            f" body: JSON.stringify({{ token: {json.dumps(desk.caller.token)} }}) }}).then(answer => answer.status)"
        )

        assert ("this desk answers to" in first, asked) == (True, 403)


async def test_the_page_survives_a_restart_of_the_desk(tmp_path: Path) -> None:
    async with made_twin() as twin, browser(tmp_path) as page:
        async with served(tmp_path, twin=twin) as desk:
            await log_in(page, desk, desk.server.tokens.owner_path.read_text().strip())
            port = int(desk.server.url.rstrip("/").rpartition(":")[2])
        await page.until("document.querySelector('#link').innerText.includes('asking again')")
        await shot(page, "lost")
        async with served(tmp_path, twin=twin, listening=Listening(port=port)) as desk:
            await page.until("document.querySelector('#link').innerText === 'up to date'", 30)
            await desk.caller.ask("POST", "/v1/orders", {"instrument": "BTC/USD", "side": "buy", "cash_order_qty": 500})
            await page.until("document.querySelector('#positions').innerText.includes('BTC/USD')")

            assert await page.run("document.querySelector('#login').hidden")


async def test_it_fits_a_phone_and_follows_keys_and_taste(tmp_path: Path) -> None:
    async with served(tmp_path) as desk, browser(tmp_path) as page:
        await page.look(width=390, height=844)
        await desk.caller.ask("POST", "/v1/orders", {"instrument": "AAPL", "side": "buy", "order_qty": 2})
        await log_in(page, desk)
        await page.until("document.querySelector('#positions').innerText.includes('AAPL')")
        wide = await page.run("document.scrollingElement.scrollWidth - 390")
        before = await page.run("getComputedStyle(document.body).backgroundColor + getComputedStyle(document.documentElement).backgroundColor")
        await page.press("t")
        after = await page.run("getComputedStyle(document.body).backgroundColor + getComputedStyle(document.documentElement).backgroundColor")
        await shot(page, "phone")
        await page.press("?")
        helped = await page.run("document.querySelector('#help').open")
        await page.press("Escape")
        named = "item.innerText || item.ariaLabel || item.labels?.length"
        names = await page.run(f"[...document.querySelectorAll('button, input, select')].filter(item => !({named})).length")

        assert wide <= 0
        assert before != after
        assert (helped, names) == (True, 0)


async def test_live_looks_like_live(tmp_path: Path) -> None:
    async with served(tmp_path, kind="live") as desk, browser(tmp_path) as page:
        await page.look(width=1400, height=600)
        await log_in(page, desk)
        await shot(page, "live")

        assert await page.text("#kind") == "LIVE"
        assert await page.run("getComputedStyle(document.querySelector('header')).borderTopColor") == "rgb(179, 38, 30)"
        assert (await page.run("document.title")).startswith("LIVE")
