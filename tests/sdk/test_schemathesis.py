"""schemathesis fuzzes the desk's own API from its OpenAPI document: no answer is a failure of ours, and every answer is what the document says."""

import asyncio
import re
from pathlib import Path

import pytest
from tests.web.served import served

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / ".venv-judges" / "bin" / "schemathesis"
# Streams do not end, and a plan is seconds of sums: tests/web asks for both.
LEFT_OUT = ("/v1/events", "/v1/stream", "/v1/plan")
# What makes sense to the schema may be refused by the market (positive_data_acceptance), and wrong tokens are slowed down (ignored_auth): tests/web.
NOT_ASKED = "positive_data_acceptance,ignored_auth"


@pytest.mark.judge
@pytest.mark.timeout(300)
@pytest.mark.prove
@pytest.mark.skipif(not PROGRAM.exists(), reason="no schemathesis in .venv-judges")
async def test_no_request_makes_the_server_fail_or_say_what_is_not_written_down(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with served(tmp_path) as desk:
        where = [f"{desk.server.url}openapi.json", "--header", f"Authorization: Bearer {desk.caller.token}", "--request-timeout", "20"]
        how = ["--phases", "coverage,fuzzing", "--max-examples", "60", "--seed", "7", "--exclude-checks", NOT_ASKED, "--no-color"]
        left_out = [word for path in LEFT_OUT for word in ("--exclude-path", path)]
        fuzzer = await asyncio.create_subprocess_exec(
            str(PROGRAM), "run", *where, *how, *left_out, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, cwd=tmp_path
        )
        out, _ = await fuzzer.communicate()
        alive = await desk.caller.get("/v1/status")
    text = out.decode()
    generated = re.search(r"([\d,]+) generated", text)
    with capsys.disabled():
        print(f"\nschemathesis: {generated[0] if generated else 'nothing'}; {text.strip().splitlines()[-1].strip('= ')}")

    assert fuzzer.returncode == 0, text[-6_000:]
    assert generated is not None
    assert int(generated[1].replace(",", "")) > 500
    assert alive["environment"] == "paper"
