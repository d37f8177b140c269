"""What the documents say of the code is so: the reference is made from it, the API's table is the server's, links lead somewhere."""

import asyncio
import importlib.util
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.shell import ROOT
from tests.web.served import served
from trading_system.web.routes import ROUTES

DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md")])


def test_the_reference_is_made_from_the_docstrings() -> None:
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    assert spec is not None
    assert spec.loader is not None
    reference = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(reference)

    assert (DOCS / "API.md").read_text() == reference.page(), "run `python docs/reference.py`"


def test_the_table_of_addresses_is_the_servers() -> None:
    said = re.findall(r"^\| `([A-Z]+ /\S*)` \| (\S+) \| (.*) \|$", (DOCS / "HTTP_API.md").read_text(), re.M)

    assert said == [(f"{route.method} {route.path}", route.scope or "–", route.summary) for route in ROUTES]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        assert re.match("https?:|mailto:", target) or (page.parent / target).exists(), target


async def test_the_program_of_the_http_page_places_an_order(tmp_path: Path) -> None:
    block = re.search(r"^```python\n(.*?)^```$", (DOCS / "HTTP_API.md").read_text(), re.M | re.S)
    assert block is not None
    async with served(tmp_path) as desk:
        program = block[1].replace("http://127.0.0.1:8765/", desk.server.url)
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", program, cwd=desk.folder, stdout=subprocess.PIPE)
        said, _ = await asyncio.wait_for(process.communicate(), 30)
        orders = await desk.caller.get("/v1/orders?all=true")

    assert (said, len(orders)) == (b"filled\n", 1)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    unit = tmp_path / "trading.service"
    unit.write_text((ROOT / "deploy" / "trading.service").read_text().replace("/opt/trading/bin/trading", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
