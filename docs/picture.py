"""Makes docs/demo.svg from a real run of the demo: python docs/picture.py."""

import os
import re
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

done = subprocess.run(
    [sys.executable, "-c", "from trading_system.cli.demo import demo; demo(['--fast'], color=True)"],
    capture_output=True,
    text=True,
    check=True,
    env=os.environ | {"FORCE_COLOR": "1"},
)
console = Console(record=True, width=110, file=open(os.devnull, "w"), force_terminal=True)  # noqa: SIM115
console.print(Text.from_ansi("$ make demo\n" + done.stdout))
drawing = re.sub(r"@font-face \{.*?\}", "", console.export_svg(title="make demo"), flags=re.DOTALL)  # no font from elsewhere
Path(__file__).with_name("demo.svg").write_text(drawing)
