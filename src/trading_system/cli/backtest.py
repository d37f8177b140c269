"""backtest: a strategy over the past. sweep: many of them. strategies: what there is. data: history from a broker."""

import math
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trading_system.cli.common import as_json, at_broker, call, emit, settings, table

if TYPE_CHECKING:
    from trading_system.domain.ids import InstrumentID
    from trading_system.research.backtest import Result, Setup
    from trading_system.research.data import Action, Event
    from trading_system.research.stats import Summary
    from trading_system.research.sweep import Trial, Verdict
    from trading_system.strategy.base import Strategy

_SHOWN = 15  # trials in the table
_SOUND = 0.95
_AMOUNT = click.FloatRange(min=0, max=1e12)


def _prices(function: Any) -> Any:
    """The options that say which past, and what trading costs in it."""
    for option in reversed(_OPTIONS):
        function = option(function)
    return function


_OPTIONS = (
    click.option("--data", multiple=True, help="Prices: FILE, or SYMBOL=FILE; CSV or Parquet. May be given several times."),
    click.option("--invented", type=click.IntRange(1, 20_000), help="Instead: so many days of prices that never were."),
    click.option("--seed", type=int, default=1, show_default=True, help="Of what is invented."),
    click.option("--actions", type=click.Path(path_type=Path), help="Splits and dividends: CSV with time, symbol, split, dividend."),
    click.option("--from", "start", type=click.DateTime(["%Y-%m-%d"]), help="First day."),
    click.option("--to", "end", type=click.DateTime(["%Y-%m-%d"]), help="The day after the last."),
    click.option("--broker", default="alpaca", show_default=True, help="Whose fees and order types."),
    click.option("--cash", type=click.FloatRange(min=0, min_open=True, max=1e12), help="To begin with.  [STARTING_CAPITAL]"),
    click.option("--spread", type=_AMOUNT, default=0.0002, show_default=True, help="Between bid and offer, as a fraction of the price."),
    click.option("--slippage", type=_AMOUNT, default=0.0001, show_default=True, help="Beyond that, of orders at the market."),
    click.option("--participation", type=click.FloatRange(0, 1, min_open=True), default=0.1, show_default=True, help="Most of a bar's volume."),
    click.option("--margin", type=click.FloatRange(1, 10), default=1.0, show_default=True, help="What may be held, times equity."),
    click.option("--borrow", type=click.FloatRange(0, 1), default=0.05, show_default=True, help="What is borrowed costs, a year."),
    click.option("--funding", type=click.FloatRange(-1, 1), default=0.1095, show_default=True, help="What a long swap pays, a year."),
    click.option("--hours", type=click.Choice(["always", "us", "forex"]), default="always", show_default=True, help="Only prices of these sessions."),
    click.option("--latency-ms", type=click.IntRange(0, 60_000), default=0, show_default=True, help="How long an order is on its way."),
)


@click.command()
@click.argument("strategy")
@click.option("--set", "pairs", multiple=True, help="A parameter: --set fast=10.")
@_prices
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the report as one page.")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Write fills, decisions, trips and equity into this folder.")
@click.option("--tables", type=click.Choice(["csv", "parquet"]), default="csv", show_default=True, help="As what --out writes them.")
@as_json
def backtest(strategy: str, as_json: bool, **given: Any) -> None:
    from trading_system.app import strategies
    from trading_system.research import backtest as engine
    from trading_system.research.stats import summary

    made = strategies.make(strategy, strategies.settings_of(given["pairs"]))
    streams = _streams(given, tuple(made.instruments), made.bars)
    setup = _setup(given, streams)
    result = engine.run([made], list(streams.values()), setup, actions=_actions(given), told=_told(sum(map(len, streams.values())), quiet=as_json))
    figures = summary(result)
    if given["html"] is not None or given["out"] is not None:
        from trading_system.research import report

        if given["html"] is not None:
            report.write_page(given["html"], result, figures, f"{strategy} over the past")
        if given["out"] is not None:
            report.write_tables(given["out"], result, parquet=given["tables"] == "parquet")
    if as_json:
        emit({"strategy": strategy, "events": result.events, **_plain(figures)})
        return
    show(strategy, result, figures)


def _actions(given: dict[str, Any]) -> "list[Action]":
    from trading_system.research.data import read_actions

    return [] if given["actions"] is None else read_actions(given["actions"])


def _symbol(text: str) -> "InstrumentID":
    from trading_system.domain.ids import parse_instrument

    try:
        return parse_instrument(text.strip().upper())
    except ValueError as error:
        raise click.UsageError(str(error)) from None


def _streams(given: dict[str, Any], wanted: tuple[str, ...], bars: str) -> "dict[InstrumentID, list[Event]]":
    from trading_system.research.data import between, in_order, invented, read_events
    from trading_system.strategy.bars import parse_period

    found: dict[InstrumentID, list[Event]] = {}
    if given["invented"] is not None:
        if given["data"]:
            raise click.UsageError("either --data or --invented")
        for name in wanted:
            which = _symbol(name)
            found[which] = invented(which, given["invented"], given["seed"], parse_period(bars) if bars else 86_400_000_000_000)
    elif not given["data"]:
        raise click.UsageError("say which prices: --data AAPL=prices.csv, or --invented 1000 to try things out")
    only = _symbol(wanted[0]) if len(wanted) == 1 else None
    for text in given["data"]:
        name, equals, file = text.rpartition("=")
        events = read_events(Path(file if equals else text), _symbol(name) if equals else only)
        for event in between(events, _ns(given["start"]), _ns(given["end"])):
            found.setdefault(event.instrument, []).append(event)
    found = {name: _in_session(in_order(events, name), given["hours"]) for name, events in found.items()}
    missing = [name for name in wanted if not found.get(_symbol(name))]
    if missing:
        raise click.UsageError(f"there are no prices of {', '.join(missing)} in that time; there are some of {', '.join(found) or 'nothing'}")
    return found


def _in_session(events: "list[Event]", kind: str) -> "list[Event]":
    from trading_system.research.data import session_hours, span_of, within_hours

    return events if kind == "always" else within_hours(events, session_hours(kind, *span_of(events)))


def _ns(moment: datetime | None) -> int | None:
    return None if moment is None else int(moment.replace(tzinfo=UTC).timestamp()) * 1_000_000_000


def _setup(given: dict[str, Any], streams: "dict[InstrumentID, list[Event]]") -> "Setup":
    from trading_system.app.build import aims_of, limits_of
    from trading_system.brokers import registry
    from trading_system.domain.ids import BrokerName
    from trading_system.research.backtest import Setup
    from trading_system.research.data import instrument_of, session_hours, span_of
    from trading_system.sim.history import Costs

    if given["broker"] not in registry.BROKERS:
        raise click.UsageError(f"there is no broker {given['broker']}; there are {', '.join(registry.BROKERS)}")
    config = settings()
    facts = registry.facts(BrokerName(given["broker"]))
    exact = {name: Decimal(repr(given[name])) for name in ("spread", "slippage", "participation", "margin", "borrow", "funding")}
    return Setup(
        facts=facts,
        instruments=tuple(
            instrument_of(facts.broker, name, hours=session_hours(given["hours"], *span_of(events))) for name, events in streams.items()
        ),
        cash=config.starting_capital if given["cash"] is None else Decimal(repr(given["cash"])),
        currency=config.base_currency,
        aims=aims_of(config),
        limits=limits_of(config),
        costs=Costs(latency_ns=given["latency_ms"] * 1_000_000, **exact),
    )


def _told(count: int, *, quiet: bool) -> Any:
    if quiet or not sys.stderr.isatty():
        return lambda _events: None

    def told(events: int) -> None:
        click.echo(f"\r\033[K  {100 * events // max(1, count)} %" if events < count else "\r\033[K", nl=False, err=True)

    return told


def _plain(figures: "Summary | Trial | Verdict") -> dict[str, Any]:
    import msgspec

    found = msgspec.to_builtins(figures)
    assert isinstance(found, dict)
    return found


def show(title: str, result: "Result", figures: "Summary") -> None:
    """The figures as a person reads them."""
    from trading_system.cli.plan import chance

    first, last = (datetime.fromtimestamp(at_ns / 1e9, UTC) for at_ns in (figures.start_ns, figures.end_ns))
    click.secho(f"{title}: {first:%Y-%m-%d} to {last:%Y-%m-%d}, {result.events:,} events", bold=True)
    money = result.setup.currency
    rows = [
        ("equity", f"{figures.capital:,.2f} → {figures.equity:,.2f} {money} ({percent(figures.total_return, signed=True)})"),
        (
            "a year",
            f"growth {percent(figures.growth_a_year, signed=True)}, deviation {percent(figures.volatility)}, Sharpe {_number(figures.sharpe)}",
        ),
        ("Sharpe believed", f"{_number(figures.sharpe_believed)}, less one standard error of {figures.days:,} days"),
        ("falls", f"deepest {percent(figures.max_drawdown)}, longest {figures.longest_fall_days:,.0f} days, worst day {percent(figures.worst_day)}"),
        ("in the market", f"{percent(figures.exposure)} of equity on average"),
        ("round trips", f"{figures.trips:,}, won {percent(figures.won)}, mean {percent(figures.mean_trip, signed=True)}"),
        ("gains to losses", _number(figures.profit_factor)),
        ("costs", f"fees {figures.fees:,.2f}, interest {figures.interest:,.2f}; dividends {figures.dividends:,.2f} {money}"),
        ("signals", ", ".join(f"{rule} {count:,}" for rule, count in sorted(figures.decisions.items())) or "none"),
    ]
    if figures.p_target is not None and figures.ceiling is not None:
        goal = result.setup.aims
        rows.append((f"the goal of {goal.target:,.0f}", f"{chance(figures.p_target)} with such a Sharpe ratio, at most {chance(figures.ceiling)}"))
    wide = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"  {name:<{wide}}  {value}")
    for halt in figures.halts:
        click.secho(f"  halted: {halt}", fg="red")
    click.secho("The past is no promise; of many backtests the best one is mostly luck.", dim=True)


def percent(value: float | None, *, signed: bool = False) -> str:
    if value is None:
        return "–"
    return f"{100 * value:+z.2f} %" if signed else f"{100 * value:z.2f} %"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:z.2f}"


@click.command()
@click.argument("strategy")
@click.option("--set", "pairs", multiple=True, help="A parameter that stays: --set bars=1d.")
@click.option("--grid", multiple=True, help="Values to try: --grid fast=5,10,20. All combinations of several.")
@click.option("--random", "count", type=click.IntRange(1, 5_000), help="Only so many combinations, by chance.")
@_prices
@as_json
def sweep(strategy: str, grid: tuple[str, ...], count: int | None, as_json: bool, **given: Any) -> None:
    from trading_system.app import strategies
    from trading_system.research import sweep as engine

    fixed = strategies.settings_of(given["pairs"])
    tried = {name: [value.strip() for value in values.split(",") if value.strip()] for name, values in strategies.settings_of(grid).items()}
    if empty := [name for name, values in tried.items() if not values]:
        raise click.UsageError(f"--grid {empty[0]}= names no values: write --grid {empty[0]}=5,10,20")
    combinations = engine.grid(tried) if count is None else engine.sampled(tried, count, given["seed"])
    trials = [fixed | combination for combination in combinations]
    made = _first_made(strategy, trials)
    streams = _streams(given, tuple(made.instruments), made.bars)
    setup, told = _setup(given, streams), _told(len(trials), quiet=as_json)
    found = engine.sweep(strategy, trials, list(streams.values()), setup, actions=_actions(given), told=told)
    said = engine.verdict(found)
    if as_json:
        rows = [{**_plain(trial), "returns": None} for trial in found]
        emit({"trials": rows, "verdict": None if said is None else {**_plain(said), "best": said.best.parameters}})
        return
    _show_sweep(strategy, found, said)


def _first_made(strategy: str, trials: Sequence[Mapping[str, str]]) -> "Strategy":
    """One of the combinations, which says what all of them want. Raises BadRequest: none can be made, with the first one's words."""
    from trading_system.app import strategies
    from trading_system.domain.errors import BadRequest

    for parameters in trials:
        with suppress(BadRequest):
            return strategies.make(strategy, parameters)
    return strategies.make(strategy, trials[0])


def _show_sweep(strategy: str, found: "list[Trial]", said: "Verdict | None") -> None:
    ranked = sorted(found, key=lambda trial: -math.inf if trial.sharpe is None else trial.sharpe, reverse=True)
    rows = [
        {
            "parameters": " ".join(f"{name}={value}" for name, value in trial.parameters.items()),
            "sharpe": _number(trial.sharpe),
            "return": percent(trial.total_return, signed=True),
            "fall": percent(trial.max_drawdown),
            "trips": f"{trial.trips:,}",
            "note": trial.error,
        }
        for trial in ranked[:_SHOWN]
    ]
    columns = [
        ("parameters", "Parameters", "text"),
        ("sharpe", "Sharpe", "number"),
        ("return", "Result", "number"),
        ("fall", "Deepest fall", "number"),
    ]
    table(rows, [*columns, ("trips", "Round trips", "number"), ("note", "", "text")], "")
    if len(found) > _SHOWN:
        click.secho(f"The first {_SHOWN} of {len(found):,}.", dim=True)
    click.echo()
    if said is None:
        click.echo("None of them traded.")
        return
    click.secho(f"The best of {said.trials:,} has a Sharpe ratio of {_number(said.best.sharpe)} a year.", bold=True)
    click.echo(f"  The best of so many without any edge would have about {said.by_luck:.2f}.")
    click.echo(f"  Chance that this one has an edge at all, after so many trials: {100 * said.deflated:.1f} % (deflated Sharpe ratio).")
    if said.overfit is not None:
        click.echo(f"  How often the best of one half of the time is below the middle in the other: {100 * said.overfit:.0f} % (overfitting).")
    sound = said.deflated >= _SOUND and (said.overfit is None or said.overfit < 1 - _SOUND)
    text = (
        "That is more than luck explains; try it on data that you have not looked at." if sound else "Luck explains that. Do not trade it for this."
    )
    click.secho(text, fg="green" if sound else "yellow")


@click.command()
@as_json
def strategies(as_json: bool) -> None:
    from trading_system.app.strategies import BUILT_IN, parameters, strategy_class

    rows = []
    for name in BUILT_IN:
        kind = strategy_class(name)
        settable = parameters(kind)
        module = sys.modules[kind.__module__].__doc__ or ""
        rows.append({"strategy": name, "what": module.strip().splitlines()[0], "parameters": {key: str(value) for key, value in settable.items()}})
    if as_json:
        emit(rows)
        return
    shown = [{**row, "parameters": " ".join(f"{key}={value}" for key, value in row["parameters"].items())} for row in rows]  # type: ignore[attr-defined]
    table(shown, [("strategy", "Strategy", "text"), ("what", "What it does", "text"), ("parameters", "--set", "text")], "")


@click.group()
def data() -> None:
    """History for backtests."""


@data.command()
@click.argument("symbol")
@click.option("--period", default="1d", show_default=True, help="Length of the bars: 1m to 1d, as the broker has them.")
@click.option("--count", type=click.IntRange(1, 10_000), default=500, show_default=True, help="The newest so many.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="A new CSV file, or Parquet by its ending.")
@at_broker
@as_json
def download(symbol: str, period: str, count: int, out: Path, broker: str | None, as_json: bool) -> None:
    """Fetch a broker's bars into a file that `trading backtest --data` reads."""
    from trading_system.domain.errors import BadRequest
    from trading_system.research.data import write_bars
    from trading_system.strategy.bars import parse_period

    if out.exists():
        raise click.UsageError(f"{out} exists already: name a new file")
    try:
        period_ns = parse_period(period)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    bars = call("bars", {"instrument": symbol, "period_ns": period_ns, "count": count, "broker": broker})
    if not bars:
        raise BadRequest(f"the broker has no such bars of {symbol}")
    write_bars(out, bars)
    if as_json:
        emit({"instrument": symbol.upper(), "bars": len(bars), "file": str(out)})
    else:
        click.echo(f"{len(bars):,} bars of {symbol.upper()} in {out}")
