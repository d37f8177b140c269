"""The fan of a plan: how wealth spreads over time, with the target in it; as lines of text, and as a picture that needs nothing else."""

import math
from collections.abc import Sequence
from html import escape

Fan = Sequence[Sequence[float]]  # 5, 25, 50, 75 and 95 % at each checkpoint
ROWS, WIDE = 13, 2
_INK = {"median": "━", "half": "▓", "most": "░", "target": "╌", "": " "}


def fan_lines(fan: Fan, capital: float, target: float, days: float) -> list[tuple[str, str]]:
    """Lines of the chart, each a scale and a drawing; wealth on a scale of ratios. The target's line is left out where it is above the chart."""
    low, high = _bounds(fan, capital, target)
    step = (high - low) / (ROWS - 1)
    lines = []
    for row in range(ROWS - 1, -1, -1):
        level = low + row * step
        cells = [_cell(column, level, step) for column in [[capital] * 5, *fan]]
        aimed = abs(math.log(target) - level) <= step / 2
        drawn = "".join(_INK[cell or ("target" if aimed else "")] * WIDE for cell in cells)
        lines.append((f"{math.exp(level):,.0f}", drawn))
    lines.append(("", f"today{'':>{(len(fan) + 1) * WIDE - 5 - len(f'{days:.0f} days')}}{days:.0f} days"))
    return lines


def _bounds(fan: Fan, capital: float, target: float) -> tuple[float, float]:
    values = [value for column in fan for value in column] + [capital]
    low, high = math.log(max(min(values), capital / 100)), math.log(max(values))
    if math.log(target) <= high + 0.5 * (high - low):
        high = max(high, math.log(target))
    return (low - 0.05, high + 0.05) if high - low < 0.1 else (low, high)


def _cell(column: Sequence[float], level: float, step: float) -> str:
    least, quarter, median, upper, most = (math.log(max(value, 1e-12)) for value in column)
    if abs(median - level) <= step / 2:
        return "median"
    if quarter - step / 2 <= level <= upper + step / 2:
        return "half"
    return "most" if least - step / 2 <= level <= most + step / 2 else ""


def fan_svg(fan: Fan, capital: float, target: float, days: float, currency: str) -> str:
    """The same as an SVG element, readable in light and dark."""
    width, height, left, top, right, bottom = 760, 360, 84, 16, 16, 34
    low, high = _bounds(fan, capital, target)
    columns = [[capital] * 5, *fan]

    def x(place: float) -> float:
        return left + (width - left - right) * place / (len(columns) - 1)

    def y(value: float) -> float:
        level = (math.log(max(value, math.exp(low))) - low) / (high - low)
        return height - bottom - (height - top - bottom) * min(1.0, max(0.0, level))

    def band(under: int, over: int, name: str) -> str:
        there = [f"{x(place):.1f},{y(column[over]):.1f}" for place, column in enumerate(columns)]
        back = [f"{x(place):.1f},{y(column[under]):.1f}" for place, column in reversed(list(enumerate(columns)))]
        return f'<polygon class="{name}" points="{" ".join(there + back)}"/>'

    parts = [band(0, 4, "most"), band(1, 3, "half")]
    parts.append(f'<polyline class="median" points="{" ".join(f"{x(place):.1f},{y(column[2]):.1f}" for place, column in enumerate(columns))}"/>')
    for row in range(6):
        value = math.exp(low + (high - low) * row / 5)
        parts.append(f'<line class="grid" x1="{left}" x2="{width - right}" y1="{y(value):.1f}" y2="{y(value):.1f}"/>')
        parts.append(f'<text x="{left - 8}" y="{y(value) + 4:.1f}" text-anchor="end">{value:,.0f}</text>')
    if math.log(target) <= high:
        parts.append(f'<line class="target" x1="{left}" x2="{width - right}" y1="{y(target):.1f}" y2="{y(target):.1f}"/>')
        parts.append(f'<text class="aim" x="{width - right - 4}" y="{y(target) - 6:.1f}" text-anchor="end">target {target:,.0f}</text>')
    parts.append(f'<text x="{left}" y="{height - 10}">today</text>')
    parts.append(f'<text x="{width - right}" y="{height - 10}" text-anchor="end">{days:.0f} days</text>')
    label = escape(f"Wealth in {currency} over {days:.0f} days: the median, half of the paths, nine tenths of them")
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{label}">{"".join(parts)}</svg>'


STYLE = """
:root{color-scheme:light dark;--ink:#1b2430;--dim:#5d6b7a;--back:#fff;--line:#d8dee5;--fan:#2f6fb3;--aim:#b3562f}
@media (prefers-color-scheme:dark){:root{--ink:#e6ebf0;--dim:#93a1b0;--back:#12171d;--line:#2b343e;--fan:#6aa7e8;--aim:#e8946a}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:52rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2rem}.note,caption{color:var(--dim)}
table{border-collapse:collapse;width:100%}
td{padding:.35rem 0;border-bottom:1px solid var(--line)}td+td{text-align:right;font-variant-numeric:tabular-nums}
svg{width:100%;height:auto}
svg text{fill:var(--dim);font-size:12px}.most{fill:var(--fan);opacity:.18}.half{fill:var(--fan);opacity:.35}
.median{fill:none;stroke:var(--fan);stroke-width:2.5}.grid{stroke:var(--line)}
.target{stroke:var(--aim);stroke-width:2;stroke-dasharray:6 4}.aim{fill:var(--aim)}
"""


def page(title: str, tables: Sequence[tuple[str, Sequence[tuple[str, str]]]], svg: str, notes: Sequence[str]) -> str:
    """One HTML file with the tables and the fan; no script, and nothing from elsewhere."""
    legend = '<p class="note">The line is the median; the darker band holds half of the paths, the lighter one nine tenths.</p>'
    body = [f"<h1>{escape(title)}</h1>", svg, legend]
    for heading, rows in tables:
        lines = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows)
        body.append(f"<h2>{escape(heading)}</h2><table>{lines}</table>")
    body += [f'<p class="note">{escape(note)}</p>' for note in notes]
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(body)}</body></html>\n'
