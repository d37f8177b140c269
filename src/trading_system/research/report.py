"""A backtest as one page that stands alone, and as tables: CSV files, and polars or pandas frames for who goes on in Python."""

import csv
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trading_system.domain.errors import BadRequest
from trading_system.domain.fix import Side
from trading_system.domain.money import plain
from trading_system.research.backtest import Result
from trading_system.research.stats import Summary, monthly, returns_of, trips_of

if TYPE_CHECKING:
    import polars

Row = dict[str, object]
_POINTS = 5_000  # of a line; more are thinned out
_CANDLES = 2_000
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
NOTE = (
    "The past is no promise; of many backtests the best one is mostly luck. Bars are gone through from the open to the nearer extreme, to the other"
    " one, to the close; orders meet the next bar at the earliest."
)
_GAIN, _LOSS, _LINE = "#2e8b57", "#c0504d", "#2f6fb3"
STYLE = """
:root{color-scheme:light dark;--ink:#1b2430;--dim:#5d6b7a;--back:#fff;--line:#d8dee5}
@media (prefers-color-scheme:dark){:root{--ink:#e6ebf0;--dim:#93a1b0;--back:#12171d;--line:#2b343e}}
body{font:16px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--back);max-width:70rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.15rem;margin-top:2.2rem}.note{color:var(--dim)}
.wide{overflow-x:auto}table{border-collapse:collapse;font-variant-numeric:tabular-nums}
td,th{padding:.3rem .7rem;border-bottom:1px solid var(--line);text-align:right}td:first-child,th:first-child{text-align:left}
.gain{color:#2e8b57}.loss{color:#c0504d}.chart{margin:.5rem 0}
"""


def rows_of(result: Result) -> dict[str, list[Row]]:
    """Everything as plain rows, by table: equity, fills, trips, decisions. Times are UTC; numbers are decimal text where they are money."""
    return {
        "equity": [
            {"time": _time(at_ns), "equity": round(value, 8), "exposure": round(exposure, 8)}
            for (at_ns, value), exposure in zip(result.equity, result.exposure, strict=True)
        ],
        "fills": [
            {
                "time": _time(fill.now_ns),
                "strategy": fill.strategy,
                "instrument": fill.instrument,
                "side": fill.side.value,
                "qty": plain(fill.qty),
                "price": plain(fill.price),
                "fee": plain(fill.fee),
            }
            for fill in result.fills
        ],
        "trips": [
            {
                "opened": _time(trip.opened_ns),
                "closed": _time(trip.closed_ns),
                "strategy": trip.strategy,
                "instrument": trip.instrument,
                "side": trip.side.value,
                "qty": plain(trip.qty),
                "entry_px": plain(round(trip.entry_px, 8)),
                "exit_px": plain(round(trip.exit_px, 8)),
                "profit": plain(round(trip.profit, 8)),
                "made": trip.made,
            }
            for trip in trips_of(result.fills)
        ],
        "decisions": [
            {
                "time": _time(decided.now_ns),
                "strategy": decided.strategy,
                "instrument": decided.wish.instrument,
                "taken": decided.taken,
                "rule": decided.rule,
                "qty": plain(decided.qty),
                "text": decided.text,
                **{f"number_{name}": value for name, value in decided.numbers.items()},
            }
            for decided in result.decisions
        ],
    }


def write_tables(folder: Path, result: Result, *, parquet: bool = False) -> None:
    """A file for each table, as CSV or as Parquet. Raises BadRequest: the folder cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if parquet:
            for name, frame in frames(result).items():
                frame.write_parquet(folder / f"{name}.parquet")
            return
        for name, rows in rows_of(result).items():
            columns = list(dict.fromkeys(column for row in rows for column in row))
            with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
                writer = csv.DictWriter(file, columns)
                writer.writeheader()
                writer.writerows(rows)
    except OSError as error:
        raise BadRequest(f"the tables were not written: {error}") from None


def frames(result: Result) -> "dict[str, polars.DataFrame]":
    """The tables as polars frames; `.to_pandas()` makes pandas of one, `.write_parquet(path)` a file. Needs the extra `research`."""
    import polars

    return {name: polars.DataFrame(rows, infer_schema_length=None) for name, rows in rows_of(result).items()}


def write_page(path: Path, result: Result, figures: Summary, title: str) -> None:
    """One HTML file that stands alone: plotly's script is inside. Needs the extra `research`. Raises BadRequest: it cannot be written."""
    parts = [f"<h1>{escape(title)}</h1>", _figures(figures, result.setup.currency)]
    charts = [("Equity, fall and exposure", _curve(result)), *((f"{name} and what was traded", chart) for name, chart in _traded(result))]
    charts.append(("Days", _tails(result)))
    script = True
    for heading, figure in charts:
        figure.update_layout(
            template="plotly_white", margin={"l": 60, "r": 20, "t": 10, "b": 40}, paper_bgcolor="#ffffff", legend={"orientation": "h"}
        )
        drawn = figure.to_html(full_html=False, include_plotlyjs=script, config={"displaylogo": False, "responsive": True})
        parts.append(f'<h2>{escape(heading)}</h2><div class="chart">{drawn}</div>')
        script = False
    parts.append(f"<h2>Months</h2>{_months(result)}")
    parts.append(f"<h2>Signals</h2>{_decisions(figures)}")
    parts.append(f"<h2>Round trips</h2>{_trips(result)}")
    parts.append(f'<p class="note">{NOTE}</p>')
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title><style>{STYLE}</style>'
    text = f'<!doctype html><html lang="en"><head>{head}</head><body>{"".join(parts)}</body></html>\n'
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadRequest(f"the page was not written: {error}") from None


def _time(at_ns: int) -> str:
    return datetime.fromtimestamp(at_ns / 1_000_000_000, UTC).isoformat()


def _moment(at_ns: int) -> datetime:
    return datetime.fromtimestamp(at_ns / 1_000_000_000, UTC).replace(tzinfo=None)


def _thinned(points: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    step = max(1, len(points) // _POINTS)
    return [*points[::step], *points[-1:]]


def _curve(result: Result) -> Any:
    from plotly import graph_objects
    from plotly.subplots import make_subplots

    capital = float(result.setup.cash)
    equity = _thinned(result.equity)
    best, falls = capital, []
    for _, value in equity:
        best = max(best, value)
        falls.append(100 * (value / best - 1))
    times = [_moment(at_ns) for at_ns, _ in equity]
    exposure = _thinned([(at_ns, 100 * value) for (at_ns, _), value in zip(result.equity, result.exposure, strict=True)])
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, row_heights=[0.56, 0.24, 0.2], vertical_spacing=0.03)
    figure.add_trace(graph_objects.Scatter(x=times, y=[value for _, value in equity], name="equity", line={"color": _LINE}), row=1, col=1)
    figure.add_trace(graph_objects.Scatter(x=times, y=falls, name="fall, %", fill="tozeroy", line={"color": _LOSS}), row=2, col=1)
    shown = [value for _, value in exposure]
    figure.add_trace(
        graph_objects.Scatter(x=[_moment(at) for at, _ in exposure], y=shown, name="held, % of equity", line={"color": "#8a8f98"}), row=3, col=1
    )
    figure.add_hline(y=-100 * float(result.setup.limits.max_drawdown_pct), line={"color": _LOSS, "dash": "dot"}, row=2, col=1)
    for halt in result.halts:
        figure.add_vline(x=_moment(halt.set_ns), line={"color": _LOSS, "dash": "dash"})
    figure.update_layout(height=620)
    return figure


def _traded(result: Result) -> Iterable[tuple[str, Any]]:
    from plotly import graph_objects

    for name, bars in result.bars.items():
        fills = [fill for fill in result.fills if fill.instrument == name]
        figure = graph_objects.Figure()
        times = [_moment(bar.open_ns) for bar in bars]
        if len(bars) <= _CANDLES:
            columns = {column: [float(getattr(bar, column)) for bar in bars] for column in ("open", "high", "low", "close")}
            figure.add_trace(graph_objects.Candlestick(x=times, name=name, increasing_line_color=_GAIN, decreasing_line_color=_LOSS, **columns))
        else:
            closes = _thinned([(bar.open_ns, float(bar.close)) for bar in bars])
            figure.add_trace(graph_objects.Scatter(x=[_moment(at) for at, _ in closes], y=[value for _, value in closes], name=name))
        for side, symbol, colour in ((Side.BUY, "triangle-up", _GAIN), (Side.SELL, "triangle-down", _LOSS)):
            chosen = [fill for fill in fills if fill.side is side]
            figure.add_trace(
                graph_objects.Scatter(
                    x=[_moment(fill.now_ns) for fill in chosen],
                    y=[float(fill.price) for fill in chosen],
                    text=[f"{side} {plain(fill.qty)} at {plain(fill.price)} {fill.strategy}" for fill in chosen],
                    name=side.value,
                    mode="markers",
                    marker={"symbol": symbol, "size": 10, "color": colour, "line": {"width": 1, "color": "#1b2430"}},
                )
            )
        figure.update_layout(height=460, xaxis_rangeslider_visible=False)
        yield name, figure


def _tails(result: Result) -> Any:
    from plotly import graph_objects

    moves = [100 * move for move in returns_of(result.equity, float(result.setup.cash))]
    figure = graph_objects.Figure(graph_objects.Histogram(x=moves, nbinsx=80, marker_color=_LINE, name="days"))
    figure.update_layout(height=320, xaxis_title="return of a day, %", yaxis_type="log", yaxis_title="days")
    return figure


def _figures(figures: Summary, currency: str) -> str:
    def percent(value: float | None) -> str:
        return "–" if value is None else f"{100 * value:,.2f} %"

    def number(value: float | None) -> str:
        return "–" if value is None else f"{value:,.2f}"

    believed = f"{number(figures.sharpe)}; {number(figures.sharpe_believed)} less one standard error"
    goal = "–" if figures.p_target is None else f"{100 * figures.p_target:.3g} % with such a Sharpe ratio, at most {percent(figures.ceiling)}"
    rows = [
        ("Time", f"{_time(figures.start_ns)[:10]} to {_time(figures.end_ns)[:10]}, {figures.days:,} days with prices"),
        ("Equity", f"{figures.capital:,.2f} to {figures.equity:,.2f} {currency}: {percent(figures.total_return)}"),
        ("Growth a year; deviation", f"{percent(figures.growth_a_year)}; {percent(figures.volatility)}"),
        ("Sharpe ratio", believed),
        ("Sortino ratio", number(figures.sortino)),
        ("Deepest fall; longest", f"{percent(figures.max_drawdown)}; {figures.longest_fall_days:,.0f} days"),
        ("Worst day; mean of the worst hundredth", f"{percent(figures.worst_day)}; {percent(figures.tail_loss)}"),
        ("Held on average", f"{percent(figures.exposure)} of equity"),
        ("Round trips", f"{figures.trips:,}; won {percent(figures.won)}; mean {percent(figures.mean_trip)}"),
        ("Gains to losses", number(figures.profit_factor)),
        ("Costs", f"fees {figures.fees:,.2f}, interest {figures.interest:,.2f}; dividends {figures.dividends:,.2f} {currency}"),
        ("The goal", goal),
        *(("Halted", halt) for halt in figures.halts),
    ]
    lines = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows)
    return f'<div class="wide"><table>{lines}</table></div>'


def _months(result: Result) -> str:
    def cell(value: float | None) -> str:
        return "<td></td>" if value is None else f'<td class="{"gain" if value >= 0 else "loss"}">{100 * value:+.1f}</td>'

    head = "".join(f"<th>{name}</th>" for name in _MONTHS)
    lines = []
    for year, months in monthly(result.equity, float(result.setup.cash)).items():
        whole = 1.0
        for value in months.values():
            whole *= 1 + value
        cells = "".join(cell(months.get(month)) for month in range(1, 13))
        lines.append(f"<tr><td>{year}</td>{cells}{cell(whole - 1)}</tr>")
    return f'<div class="wide"><table><tr><th>%</th>{head}<th>Year</th></tr>{"".join(lines)}</table></div>'


def _decisions(figures: Summary) -> str:
    rows = sorted(figures.decisions.items(), key=lambda row: -row[1])
    lines = "".join(f"<tr><td>{escape(rule)}</td><td>{count:,}</td></tr>" for rule, count in rows)
    return f"<table><tr><th>Taken, or left by</th><th>Signals</th></tr>{lines}</table>"


def _trips(result: Result) -> str:
    trips = trips_of(result.fills)
    shown = trips[-200:]
    lines = []
    for trip in shown:
        kind = "gain" if trip.profit > 0 else "loss"
        cells = [
            f"{_time(trip.opened_ns)[:16]} {trip.instrument}",
            trip.side.value,
            plain(trip.qty),
            f"{float(trip.entry_px):,.4f}",
            f"{float(trip.exit_px):,.4f}",
            f"{(trip.closed_ns - trip.opened_ns) / 86_400_000_000_000:,.1f}",
        ]
        made = f'<td class="{kind}">{float(trip.profit):+,.2f}</td><td class="{kind}">{100 * trip.made:+.2f}</td>'
        lines.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + made + "</tr>")
    heads = ("From", "Side", "Quantity", "Entry", "Exit", "Days", "Profit", "%")
    note = f'<p class="note">The last {len(shown)} of {len(trips):,}.</p>' if len(trips) > len(shown) else ""
    return f'<div class="wide"><table><tr>{"".join(f"<th>{head}</th>" for head in heads)}</tr>{"".join(lines)}</table></div>{note}'
