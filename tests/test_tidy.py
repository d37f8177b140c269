"""What a machine can see of the conventions (CONTRIBUTING.md)."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCE = ROOT / "src" / "trading_system"
MODULES = sorted(SOURCE.rglob("*.py"))
CONNECTOR_FILES = ("__init__", "facts", "wire", "codec", "auth", "errors", "session", "connector", "twin")
NO_FLOATS = ("domain", "core", "journal", "brokers")
FLOATS_ALLOWED = {
    "core/depth.py": "a book holds 15 digits exactly and is changed a thousand times a second",
    **{f"brokers/{broker}/book.py": "the levels of core/depth.py, as they come" for broker in ("binance", "bybit", "kraken")},
}
BROAD_EXCEPT_ALLOWED = {
    "sim/clock.py": "an executor hands on whatever was raised",
    "web/server.py": "a bug becomes a 500 with a number, and its traceback a line in the log",
    "app/alerts.py": "whatever a service's plugin raises is an address that failed",
    "app/child.py": "whatever a strategy raises is told to the desk, which counts it",
}
CLOCKS = {"transport/clock.py", "transport/http.py", "transport/tape.py", "sim/host.py"}


def name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=name)
def test_a_module_opens_with_one_sentence_on_what_lives_in_it(path: Path) -> None:
    tree = ast.parse(path.read_text())
    if tree.body:
        doc = ast.get_docstring(tree)

        assert doc, f"{name(path)} has no first sentence"


@pytest.mark.parametrize("broker", sorted(path.name for path in (SOURCE / "brokers").iterdir() if path.is_dir() and path.name != "__pycache__"))
def test_every_connector_has_the_nine_names(broker: str) -> None:
    folder = SOURCE / "brokers" / broker
    found = {path.stem if path.stem != "__init__" else path.parent.name for path in folder.rglob("*.py")} | {"__init__"}  # or in a transport's folder
    missing = [item for item in CONNECTOR_FILES if item not in found]

    assert missing == []


def test_only_the_gate_makes_an_approved() -> None:
    makers = [name(path) for path in MODULES for node in ast.walk(ast.parse(path.read_text())) if _calls(node, "Approved")]

    assert makers == ["core/risk.py"]


def _calls(node: ast.AST, what: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == what


def test_money_has_no_floats() -> None:
    found = [
        f"{name(path)}:{node.lineno}"
        for path in MODULES
        if name(path).split("/")[0] in NO_FLOATS and name(path) not in FLOATS_ALLOWED and "/twin/" not in name(path)
        for node in ast.walk(ast.parse(path.read_text()))
        if (isinstance(node, ast.Name) and node.id == "float") or (isinstance(node, ast.Constant) and isinstance(node.value, float))
    ]

    assert found == []


def test_exceptions_are_caught_by_name() -> None:
    found = [
        name(path)
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in ("Exception", "BaseException")))
    ]

    assert set(found) <= set(BROAD_EXCEPT_ALLOWED)


def test_time_comes_from_outside() -> None:
    """The desk, the brokers and the market ask a Clock; only it, and the loopback host, ask the system."""
    wall = re.compile(r"\btime\.(time|monotonic|perf_counter)(_ns)?\b|datetime\.now\(|\buuid4\(|\brandom\.(random|randint|choice)\(")
    found = [name(path) for path in MODULES if not name(path).startswith("cli/") and name(path) not in CLOCKS and wall.search(path.read_text())]

    assert found == []


def test_secrets_are_revealed_where_requests_are_signed() -> None:
    found = {name(path) for path in MODULES if ".reveal()" in path.read_text()}

    assert found == {
        "brokers/alpaca/auth.py",
        "brokers/binance/auth.py",
        "brokers/bybit/auth.py",
        "brokers/ibkr/auth.py",
        "brokers/ibkr/web/auth.py",
        "brokers/kraken/auth.py",
        "brokers/oanda/auth.py",
        "brokers/tradier/auth.py",
        "app/alerts.py",
        "app/config.py",
    }  # alerts: the addresses, which Apprise opens; config: the key's prefix


def test_every_module_is_used() -> None:
    text = {path: path.read_text() for path in (*MODULES, *ROOT.glob("tests/**/*.py"), *ROOT.glob("examples/*.py"), *ROOT.glob("bench/*.py"))}
    dead = []
    for path in MODULES:
        module = "trading_system." + name(path).removesuffix(".py").replace("/", ".")
        stem = path.stem
        if stem == "__init__" or module.startswith("trading_system.cli."):
            continue
        package = module.rpartition(".")[0]
        uses = re.compile(
            rf"{re.escape(module)}\b|from {re.escape(package)} import [^\n(]*\b{stem}\b|from {re.escape(package)} import \([^)]*\b{stem}\b", re.S
        )
        if not any(uses.search(content) for other, content in text.items() if other != path):
            dead.append(name(path))

    assert dead == []


def test_every_fault_names_a_test_that_exists() -> None:
    tests = {found for path in (ROOT / "tests").rglob("test_*.py") for found in re.findall(r"def (test_\w+)", path.read_text())}
    planted = {path.stem for path in (ROOT / "tests" / "simulation" / "mutants").glob("*.patch")}
    text = (ROOT / "docs" / "FAULTS.md").read_text()
    rows = [row for row in text.splitlines() if re.match(r"\| \d", row)]

    assert [name for name in re.findall(r"`(test_\w+)`", text) if name not in tests] == []
    assert [name for name in re.findall(r"`mutants/(\w+)`", text) if name not in planted] == []
    assert [row for row in rows if "`test_" not in row and "`mutants/" not in row and "later" not in row] == []
    assert sum(1 if "–" not in row.split("|")[1] else 4 for row in rows) == 90


def test_importing_is_light() -> None:
    heavy = ("aiohttp", "structlog", "keyring", "rich", "picows", "ib_async", "numpy")
    code = f"import sys, trading_system, trading_system.app.config; print([name for name in {heavy} if name in sys.modules])"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


def test_no_file_names_a_machine_or_an_index() -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    pattern = re.compile(r"--(extra-)?index-url|--find-links|https?://[^ ]*/simple/|(?<![\w.])/(root|home/[a-z]+)/")
    found = [item for item in tracked if Path(ROOT / item).suffix in (".py", ".toml", ".md", ".txt", ".sh", "") and _reads(ROOT / item, pattern)]

    assert [item for item in found if item not in ("tests/test_tidy.py",)] == []


def _reads(path: Path, pattern: re.Pattern[str]) -> bool:
    return path.is_file() and pattern.search(path.read_text(errors="replace")) is not None
