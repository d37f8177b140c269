"""A headless Chromium, driven over its own DevTools protocol: what a person does on the page, and what a hostile page would try."""

import asyncio
import base64
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".browser" / "chromium"
NEEDS_BROWSER = pytest.mark.skipif(not PROGRAM.exists(), reason="no Chromium: `make browser` fetches one where npm is there")
_FLAGS = (
    "--headless=shell",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--remote-debugging-port=0",
    "--hide-scrollbars",
    "--single-process",
    "--no-zygote",
)


class Page:
    """One tab. Everything that it logged, asked for or was refused is kept."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, session_id: str) -> None:
        self._socket = socket
        self._session_id = session_id
        self._number = 0
        self._answers: dict[int, asyncio.Future[Any]] = {}
        self.errors: list[str] = []
        self.requests: list[str] = []
        self.reader = asyncio.create_task(self._read())

    async def call(self, method: str, **params: object) -> Any:
        self._number += 1
        number = self._number
        self._answers[number] = asyncio.get_running_loop().create_future()
        message: dict[str, object] = {"id": number, "method": method, "params": params}
        await self._socket.send_json(message | ({"sessionId": self._session_id} if self._session_id else {}))
        try:
            async with asyncio.timeout(20):
                return await self._answers[number]
        finally:
            del self._answers[number]

    async def open(self, url: str) -> None:
        await self.call("Page.navigate", url=url)
        await self.until("document.readyState === 'complete'")

    async def run(self, script: str) -> Any:
        """The value of an expression, awaited where it is a promise. Raises AssertionError: it threw."""
        found = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True, userGesture=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"].get("exception", {}).get("description", found)
        return found["result"].get("value")

    async def until(self, script: str, within_s: float = 15) -> None:
        """Wait until an expression is true. Raises AssertionError: it does not become so."""
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while True:
                    with suppress(AssertionError):  # a page that is being replaced
                        if await self.run(script):
                            return
                    await asyncio.sleep(0.05)
        raise AssertionError(f"not within {within_s} s: {script}; errors: {self.errors}")

    async def text(self, selector: str) -> str:
        return str(await self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    async def type(self, selector: str, text: str) -> None:
        await self.run(f"document.querySelector({json.dumps(selector)}).focus()")
        await self.call("Input.insertText", text=text)

    async def press(self, key: str) -> None:
        codes = {"Escape": 27, "Enter": 13}
        text = {} if key == "Escape" else {"text": "\r" if key == "Enter" else key}
        for kind in ("keyDown", "keyUp"):
            await self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=codes.get(key, 0), **(text if kind == "keyDown" else {})
            )

    async def click(self, selector: str) -> None:
        await self.run(f"document.querySelector({json.dumps(selector)}).click()")

    async def look(self, *, width: int, height: int, dark: bool = False) -> None:
        await self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 600)
        await self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])

    async def shot(self, path: Path) -> None:
        found = await self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(found["data"]))  # noqa: ASYNC240  a picture for a person

    async def _read(self) -> None:
        async for message in self._socket:
            said = json.loads(message.data)
            waiting = self._answers.get(said.get("id", -1))
            if waiting is not None and not waiting.done():
                if "error" in said:
                    waiting.set_exception(AssertionError(said["error"]["message"]))
                else:
                    waiting.set_result(said["result"])
            elif said.get("method") == "Runtime.exceptionThrown":
                self.errors.append(str(said["params"]["exceptionDetails"].get("exception", {}).get("description")))
            elif said.get("method") == "Log.entryAdded" and said["params"]["entry"]["level"] == "error":
                self.errors.append(said["params"]["entry"]["text"])
            elif said.get("method") == "Network.requestWillBeSent":
                self.requests.append(said["params"]["request"]["url"])


@asynccontextmanager
async def browser(folder: Path, *flags: str) -> AsyncIterator[Page]:
    """A Chromium with one empty tab, in a profile that goes with it."""
    profile = folder / "profile"
    command = [str(PROGRAM), *_FLAGS, f"--user-data-dir={profile}", *flags, "about:blank"]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.PIPE)
    assert process.stderr is not None
    try:
        address = await asyncio.wait_for(_address(process.stderr), 30)
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as socket:
            target = await asyncio.wait_for(_ask(socket, 1, "Target.createTarget", url="about:blank"), 30)
            attached = await asyncio.wait_for(_ask(socket, 2, "Target.attachToTarget", targetId=target["targetId"], flatten=True), 30)
            page = Page(socket, attached["sessionId"])
            page._number = 100
            drained = asyncio.create_task(_drained(process.stderr))
            for domain in ("Page", "Runtime", "Network", "Log"):
                await page.call(f"{domain}.enable")
            try:
                yield page
            finally:
                page.reader.cancel()
                drained.cancel()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()
        shutil.rmtree(profile, ignore_errors=True)


async def _address(stream: asyncio.StreamReader) -> str:
    while line := (await stream.readline()).decode():
        if address := line.partition("listening on ")[2].strip():
            return address
    raise AssertionError("Chromium ended before it listened")


async def _ask(socket: aiohttp.ClientWebSocketResponse, number: int, method: str, **params: object) -> Any:
    await socket.send_json({"id": number, "method": method, "params": params})
    while True:
        said = await socket.receive_json()
        if said.get("id") == number:
            return said["result"]


async def _drained(stream: asyncio.StreamReader) -> None:
    while await stream.readline():
        pass
