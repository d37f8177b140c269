"""plan: the odds of the goal. convexity: the score of a payoff."""

import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from trading_system.cli.common import as_json, emit, settings

if TYPE_CHECKING:
    from trading_system.app.planner import Plan, Record

Rows = list[tuple[str, str]]
_POSITIVE = click.FloatRange(min=0, min_open=True, max=1e15)
_ASSUMED_SHARPE, _ASSUMED_VOLATILITY = 1.0, 0.20
_CHART_LEAST = 60  # columns of a terminal
_PAYOFFS = ["stock", "long-call", "short-put", "straddle", "covered-call", "stop", "target", "bracket"]


@click.command()
@click.option("--capital", type=_POSITIVE, help="What it starts from.  [STARTING_CAPITAL]")
@click.option("--target", type=_POSITIVE, help="Where it shall arrive.  [TARGET_WEALTH]")
@click.option("--days", type=click.FloatRange(1, 36500), help="In how many days.  [TIME_HORIZON_DAYS]")
@click.option("--sharpe", type=click.FloatRange(0, 20), help=f"Sharpe ratio of the strategy, a year.  [{_ASSUMED_SHARPE}, which few keep up]")
@click.option("--vol", type=click.FloatRange(0, 20, min_open=True), help=f"Its deviation a year at leverage 1.  [{_ASSUMED_VOLATILITY}]")
@click.option("--rate", type=click.FloatRange(-0.5, 1), default=0.0, show_default=True, help="What cash earns a year, continuously.")
@click.option("--kelly", type=click.FloatRange(0, 2), help="The multiple of Kelly's bet.  [KELLY_FRACTION]")
@click.option("--paths", type=click.IntRange(100, 1_000_000), default=10_000, show_default=True)
@click.option("--seed", type=int, default=1, show_default=True)
@click.option("--returns", type=click.Path(path_type=Path), help="Daily returns of the strategy, a line each: instead of --sharpe and --vol.")
@click.option("--per-year", type=click.IntRange(1, 366), default=252, show_default=True, help="On how many days a year the returns are.")
@click.option("--tails", type=click.Choice(["fat", "normal"]), default="fat", show_default=True, help="How days are drawn without returns.")
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), help="Write the plan as a page, too.")
@as_json
def plan(**given: Any) -> None:
    from trading_system.app.planner import limits_of, plan, read_returns, record_of
    from trading_system.domain.errors import BadRequest
    from trading_system.sizing.goal import DAYS_A_YEAR, Goal
    from trading_system.sizing.paths import Worked

    config = settings()
    record = None
    if given["returns"] is not None:
        if given["sharpe"] is not None or given["vol"] is not None:
            raise click.UsageError("--returns says the Sharpe ratio and the volatility itself: leave --sharpe and --vol out")
        record = record_of(read_returns(given["returns"]), given["rate"], given["per_year"])
    sharpe = record.sharpe if record else _or(given["sharpe"], _ASSUMED_SHARPE)
    capital, target = _or(given["capital"], float(config.starting_capital)), _or(given["target"], float(config.target_wealth))
    goal = Goal(
        capital=capital,
        target=target,
        years=_or(given["days"], config.time_horizon_days) / DAYS_A_YEAR,
        sharpe=sharpe,
        rate=given["rate"],
    )
    worked = Worked(
        volatility=record.volatility if record else _or(given["vol"], _ASSUMED_VOLATILITY),
        kelly=_or(given["kelly"], float(config.kelly_fraction)),
        tails="sample" if record else given["tails"],
        sample=record.returns if record else (),
        days_a_year=given["per_year"] if record else DAYS_A_YEAR,
    )
    found = plan(goal, worked, limits_of(config), paths=given["paths"], seed=given["seed"], told=_told(quiet=given["as_json"]))
    tables, notes = _tables(found, record, config.base_currency), _notes(found, assumed=record is None and given["sharpe"] is None)
    if given["html"] is not None:
        from trading_system.cli.fan import fan_svg, page

        svg = fan_svg(found.simulated.fan, capital, target, found.days, config.base_currency)
        try:
            given["html"].write_text(page(_title(found, config.base_currency), tables, svg, notes), encoding="utf-8")
        except OSError as error:
            raise BadRequest(f"the page was not written: {error}") from None
    if given["as_json"]:
        emit(found)
        return
    click.secho(_title(found, config.base_currency), bold=True)
    for heading, rows in tables:
        _show(heading, rows)
    _chart(found)
    for note in notes:
        click.secho(note, fg="yellow")
    if given["html"] is not None:
        click.echo(f"Written: {given['html']}")


def _or(given: float | None, default: float) -> float:
    return default if given is None else given


def _told(*, quiet: bool) -> Any:
    if quiet or not sys.stderr.isatty():
        return lambda _done, _all: None

    def told(done: int, everything: int) -> None:
        click.echo(f"\r\033[K  paths {100 * done // everything} %" if done < everything else "\r\033[K", nl=False, err=True)

    return told


def _title(plan: "Plan", currency: str) -> str:
    times = plan.target / plan.capital
    return f"{plan.capital:,.0f} → {plan.target:,.0f} {currency} ({times:,.4g} ×) in {plan.days:,.0f} days"


def _tables(plan: "Plan", record: "Record | None", currency: str) -> list[tuple[str, Rows]]:
    at = f"{plan.kelly:g} × Kelly"
    found = plan.simulated
    even = plan.horizon_for_even_odds_days
    closed: Rows = [
        ("growth that it takes, a year", _growth(plan.required_growth)),
        (f"chance, whatever one does with a Sharpe ratio of {plan.sharpe:.2f}", chance(plan.ceiling)),
        (f"chance to be there on the day, at {at}", chance(plan.p_target_terminal)),
        (f"chance to touch it before, at {at}", chance(plan.p_target_touch)),
        (f"chance ever to halve, at {at}", chance(plan.p_halved_ever)),
        ("multiple of Kelly with the best odds, at most 1", f"{plan.best_kelly:.2f}"),
        (f"even odds of the target, at {at}", "never" if even is None else _days(even)),
    ]
    if record is not None:
        closed.insert(
            0, (f"Sharpe ratio of {len(record.returns):,} days: {record.observed_sharpe:.2f}; less one standard error", f"{record.sharpe:.2f}")
        )
    under: Rows = [
        ("chance to be there on the day", f"{_counted(found.p_target, found.paths)} ± {100 * found.standard_error:.2g} %"),
        ("chance to touch it before", _counted(found.p_touch, found.paths)),
        ("chance that the drawdown limit ends it", _counted(found.p_halted, found.paths)),
        ("median of wealth at the end", f"{found.median_terminal:,.0f} {currency}"),
        ("5, 25, 75, 95 % end below", ", ".join(f"{value:,.0f}" for value in found.percentiles.values())),
        ("the worst twentieth loses, on average", f"{found.expected_shortfall:,.0f} {currency}"),
    ]
    return [
        ("Without limits", closed),
        (f"Under your limits ({_limits(plan)}; {found.paths:,} paths, {_TAILS[plan.tails]}, seed {plan.seed})", under),
    ]


_TAILS = {"fat": "fat tails", "normal": "normal days", "sample": "days of the file"}


def _limits(plan: "Plan") -> str:
    limits = plan.limits
    halts = [f"{name} {100 * value:g} %" for name, value in (("day", limits.daily_loss), ("drawdown", limits.drawdown)) if value is not None]
    return ", ".join([f"leverage {limits.leverage:g}", *halts])


def _notes(plan: "Plan", *, assumed: bool) -> list[str]:
    notes = []
    if assumed:
        notes.append(f"The Sharpe ratio of {plan.sharpe:g} is assumed: --sharpe, or --returns FILE of your strategy. Most strategies have less.")
    if plan.kelly > plan.best_kelly:
        notes.append(f"So near the target {plan.best_kelly:.2f} × Kelly has better odds than {plan.kelly:g}: sizes brake by themselves.")
    return notes


def chance(p: float) -> str:
    """A chance as a person reads it; one that is next to nothing says so, and how little."""
    if p <= 0 or p >= 1:
        return f"{100 * p:.0f} %"
    if p < 1e-4:
        return f"1 in 10^{-math.log10(p):.0f}" if p < 1e-7 else f"1 in {1 / p:,.0f}"
    return f"{100 * p:.2f} %" if p < 0.9999 else "> 99.99 %"


def _counted(p: float, paths: int) -> str:
    return chance(p) if p else f"none of {paths:,} paths"


def _growth(a_year: float) -> str:
    percent = math.expm1(a_year) * 100 if a_year < 100 else math.inf
    return f"{percent:+,.0f} %" if abs(percent) >= 10 else f"{percent:+.2f} %"


def _days(days: float) -> str:
    return f"{days:,.0f} days ({days / 365:,.1f} years)" if days > 730 else f"{days:,.0f} days"


def _show(heading: str, rows: Sequence[tuple[str, str]]) -> None:
    click.echo()
    click.secho(heading, bold=True)
    wide = max(len(name) for name, _ in rows)
    for name, value in rows:
        click.echo(f"  {name:<{wide}}  {click.style(value, fg='cyan')}")


def _chart(plan: "Plan") -> None:
    import shutil

    from trading_system.cli.fan import fan_lines

    if shutil.get_terminal_size().columns < _CHART_LEAST:
        return
    click.echo()
    lines = fan_lines(plan.simulated.fan, plan.capital, plan.target, plan.days)
    wide = max(len(scale) for scale, _ in lines)
    for scale, drawn in lines:
        click.echo(f"  {scale:>{wide}}  {drawn}")
    click.secho(f"  {'':>{wide}}  ━ median   ▓ half of the paths   ░ nine tenths   ╌ target", dim=True)


@click.command()
@click.option("--payoff", required=True, type=click.Choice(_PAYOFFS))
@click.option("--stop", type=float, help="How far below the entry, as a fraction of its price.")
@click.option("--target", type=float, help="How far above it.")
@click.option("--gap", type=click.FloatRange(0, 1), help="Mean loss beyond the stop's price.  [a tenth of --vol]")
@click.option("--vol", type=click.FloatRange(0, 5, min_open=True), default=0.20, show_default=True, help="Deviation over the time it is held.")
@click.option("--distribution", type=click.Choice(["normal", "lognormal", "empirical"]), default="normal", show_default=True)
@click.option("--returns", type=click.Path(path_type=Path), help="For empirical: returns over such times, a line each.")
@as_json
def convexity(
    payoff: str,
    stop: float | None,
    target: float | None,
    gap: float | None,
    vol: float,
    distribution: str,
    returns: Path | None,
    as_json: bool,
) -> None:
    from trading_system.app.planner import read_returns
    from trading_system.sizing.convexity import Payoff, empirical, lognormal, normal, score

    if (distribution == "empirical") != (returns is not None):
        raise click.UsageError("--distribution empirical and --returns FILE belong together")
    moves = empirical(read_returns(returns)) if returns is not None else {"normal": normal, "lognormal": lognormal}[distribution](vol)
    try:
        found = score(Payoff(payoff), moves, stop=stop, target=target, gap=gap)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    least = float(settings().min_convexity_score)
    if as_json:
        emit({"payoff": payoff, "score": found, "min_convexity_score": least, "distribution": distribution, "deviation": moves.deviation})
        return
    passes = found >= least
    click.echo(f"{payoff}: {click.style(f'{found:+.4f}', fg='green' if passes else 'red', bold=True)}")
    click.echo(f"An entry needs {least:g} (MIN_CONVEXITY_SCORE): {'it would pass' if passes else 'it would not pass'}.")
