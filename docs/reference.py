"""Makes docs/API.md from the docstrings: python docs/reference.py. A test holds the page to the code."""

import ast
import importlib
import inspect
import sys
from collections.abc import Iterator
from pathlib import Path

PARTS = (
    ("Strategies", "strategy.base", ("Strategy", "Context", "Filled", "Held", "Started", "Ticked", "Stopped", "Belief")),
    ("What a strategy wishes for", "domain.signal", ("Signal", "Allocation", "Odds", "Outlook", "Record")),
    ("Orders", "domain.order", ("NewOrder", "Leg", "Attached", "Replace", "Order", "Fill")),
    ("Market", "domain.market", ("Quote", "Trade", "Bar", "BookSnapshot")),
    ("Instruments and accounts", "domain.instrument", ("Instrument", "AssetClass")),
    ("", "domain.account", ("AccountSnapshot", "Position", "Flow")),
    (
        "Errors",
        "domain.errors",
        (
            "DeskError",
            "RiskRefused",
            "Halted",
            "NotSent",
            "Rejected",
            "Unavailable",
            "RateLimited",
            "InDoubt",
            "AuthFailed",
            "ProtocolError",
            "JournalError",
            "LeaseHeld",
            "BadRequest",
        ),
    ),
    ("A desk of your own", "app.build", ("open_desk",)),
    ("", "app.config", ("load_config",)),
    ("", "app.desk", ("Desk",)),
    ("Backtests from Python", "research.backtest", ("run", "Setup", "Result")),
    ("", "research.data", ("read_events", "invented", "instrument_of")),
    ("", "research.report", ("frames", "write_tables", "write_page")),
    ("Credentials", "brokers.credentials", ("BrokerCredentials",)),
    (
        "What a broker fills",
        "domain.ports",
        ("Broker", "MarketData", "OptionData", "DepthData", "ValidatesOrders", "CancelsWhenSilent", "CountsRequests"),
    ),
)
HEAD = """# From Python

The parts of the package that a program of your own meets, made from their docstrings by `python docs/reference.py`. Amounts are `Decimal`, times
UTC nanoseconds. For other languages there is [HTTP](HTTP_API.md); for the words, [the glossary](GLOSSARY.md).
"""


def page() -> str:
    lines = [HEAD]
    for title, module, names in PARTS:
        lines += [f"## {title}\n"] if title else []
        lines += [f"From `trading_system.{module}`:\n"]
        for name in names:
            lines += list(described(module, name))
    return "\n".join(lines)


def described(module: str, name: str) -> Iterator[str]:
    found = importlib.import_module(f"trading_system.{module}")
    source = inspect.getsource(found)
    tree = ast.parse(source)
    node = next(item for item in tree.body if getattr(item, "name", None) == name)
    assert isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
    yield f"### `{name}`\n"
    if not isinstance(node, ast.ClassDef):
        yield f"```python\n{_signature(node)}\n```\n"
    yield from _words(node)
    if isinstance(node, ast.ClassDef):
        public = [item for item in node.body if isinstance(item, ast.AnnAssign) and not ast.unparse(item.target).startswith("_")]
        fields = [
            line.removeprefix("    ") for item in public for line in source.splitlines()[item.lineno - 1 : item.end_lineno]
        ]  # with their comments
        yield from (["```python\n" + "\n".join(fields) + "\n```\n"] if fields else [])
        methods = list(_methods(node))
        yield from (*methods, *([""] if methods else []))


def _methods(node: ast.ClassDef) -> Iterator[str]:
    for item in node.body:
        if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef) and not item.name.startswith("_"):
            words = " ".join((ast.get_docstring(item) or "").split())
            yield f"- `{_signature(item).removeprefix('def ')}`" + (f": {words}" if words else "")


def _words(node: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    words = ast.get_docstring(node)
    if words:
        yield "\n".join(line.rstrip() for line in words.splitlines()) + "\n"


def _signature(node: ast.FunctionDef | ast.AsyncFunctionDef) -> str:
    given = ast.unparse(node.args).removeprefix("self, ").removeprefix("cls, ")
    given = "" if given in ("self", "cls") else given
    result = "" if node.returns is None else f" -> {ast.unparse(node.returns)}"
    return f"{'async ' if isinstance(node, ast.AsyncFunctionDef) else ''}def {node.name}({given}){result}".replace("'", '"')


if __name__ == "__main__":
    target = Path(__file__).with_name("API.md")
    target.write_text(page())
    sys.stdout.write(f"{target.name} written\n")
