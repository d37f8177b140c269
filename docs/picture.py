"""Makes docs/demo.svg from a real run of the demo in a terminal: python docs/picture.py."""

import os
import pty
import re
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

shown = bytearray()


def keep(terminal: int) -> bytes:
    data = os.read(terminal, 4096)
    shown.extend(data)
    return data


pty.spawn([sys.executable, "-m", "trading_system.cli.main", "demo", "--fast"], keep)
console = Console(record=True, width=104, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
console.print(Text.from_ansi("$ make demo\n" + shown.decode().replace("\r", "")))
drawing = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="make demo"), flags=re.DOTALL)  # no font from elsewhere
Path(__file__).with_name("demo.svg").write_text(drawing)
