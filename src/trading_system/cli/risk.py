"""halt, resume, resolve, alerts, deadman, arm."""

import sys
from datetime import datetime
from typing import Any

import click

from trading_system.app.config import Config
from trading_system.cli.common import as_json, call, clock, emit, money, settings, warn


@click.command()
@click.option("--scope", default="all", show_default=True, help="all, crypto, a broker, or broker:INSTRUMENT.")
@click.option("--level", type=click.Choice(["reduce_only", "halt", "kill"]), help="All refuse new risk; kill also cancels the working entries.")
@click.option("--kill", is_flag=True, help="The same as --level kill.")
@click.option("--reason", default="set by the owner", show_default=True)
@as_json
def halt(scope: str, level: str | None, kill: bool, reason: str, as_json: bool) -> None:
    if kill and level not in (None, "kill"):
        raise click.UsageError("--kill and another --level contradict each other")
    from trading_system.app import build

    config = settings()
    asked = {"scope": scope, "level": "kill" if kill else level or "halt", "text": reason}
    set_: Any = build.run(build.call(config, "halt", asked, say=warn))
    if as_json:
        emit(set_)
    else:
        click.secho(f"HALTED {set_['scope']} ({set_['level']}). Exits still pass; `trading resume` clears it.", fg="red", bold=True)
    click.echo(set_["text"] if set_["rule"] == "FILE" else f"state folder {build.state_folder(config)}", err=True)


@click.command()
@click.option("--scope", default="*", help="Which halt; default: every one.")
@click.option("--confirm", help="The word resume, where nobody can be asked.")
@click.option("--adopt", is_flag=True, help="Take the broker's figures over where a difference had halted.")
@as_json
def resume(scope: str, confirm: str | None, adopt: bool, as_json: bool) -> None:
    halts = call("status", {})["risk"]["halts"]
    for set_ in halts:
        click.secho(f"halted {set_['scope']} since {clock(set_['set_ns'])}: {set_['rule']} {set_['text']}", fg="yellow", err=True)
    if not halts:
        click.echo("Nothing is halted.", err=True)
    elif confirm is None:
        first = click.prompt("Type resume to take risk again", err=True)
        second = click.prompt("Once more", err=True)
        confirm = first if first == second else ""
    if halts and confirm != "resume":
        raise click.UsageError("not resumed: the word is resume, typed twice")
    risk = call("resume", {"scope": scope, "adopt": adopt or None}) if halts else {"halts": []}
    if as_json:
        emit(risk)
    elif halts:
        click.secho("Trading again." if not risk["halts"] else f"Still halted: {', '.join(item['scope'] for item in risk['halts'])}", fg="green")


@click.command()
@click.argument("cl_ord_id")
@click.option("--confirm", help="The word absent, where nobody can be asked.")
@as_json
def resolve(cl_ord_id: str, confirm: str | None, as_json: bool) -> None:
    for order in [] if confirm is not None else [row for row in call("orders", {}) if row["cl_ord_id"] == cl_ord_id]:
        what = f"{order['side']} {order['order_qty'] or order['cash_order_qty']} {order['instrument']} at {order['broker']}"
        click.secho(f"{what}, sent {clock(order['sent_ns'])}: {order['text']}", fg="yellow", err=True)
        confirm = click.prompt("Look among the orders and the trades on the broker's own page. Type absent if it is in neither", err=True)
    if confirm not in (None, "absent"):  # None: there is no such order, which the desk says
        raise click.UsageError("nothing was done: the word is absent")
    order = call("resolve", {"cl_ord_id": cl_ord_id})
    if as_json:
        emit(order)
    elif order["doubt"] == "proven_absent":
        click.secho(f"{cl_ord_id} is closed: {order['text']}. What it kept back is free again.", fg="green")
    else:
        said = f"{order['ord_status']}, {order['cum_qty']} filled"
        click.secho(f"{order['broker']} knows it after all, and that counts: {said}. Nothing was closed.", fg="yellow")


@click.command()
@click.option("--ack", metavar="NUMBER|all", help="You have seen it.")
@click.option("--test", "testing", is_flag=True, help="Send a test message to every address of ALERT_URLS and ALERT_URLS_BACKUP.")
@click.option("--dead", is_flag=True, help="What nobody could be told, the oldest first.")
@as_json
def alerts(ack: str | None, testing: bool, dead: bool, as_json: bool) -> None:
    if ack is not None and ack != "all" and not ack.isdecimal():
        raise click.UsageError("--ack takes the number of an alert, or all")
    if (ack is not None) + testing + dead > 1:
        raise click.UsageError("one of --ack, --test and --dead")
    if testing:
        rows = _tested()
    elif dead:
        rows = _dead_letters()
    else:
        rows = call("alerts", {}) if ack is None else call("acknowledge", {"number": "0" if ack == "all" else ack})
    if as_json:
        emit(rows)
    elif testing:
        for row in rows:
            said = click.style(f"taken after {row['seconds']} s", fg="green") if row["taken"] else click.style(row["text"], fg="red")
            click.echo(f"{row['channel']}, {row['address']}: {said}")
    else:
        for row in rows:
            colour = "red" if row["severity"] == "critical" else "yellow"
            first = f"{'':>5}  {clock(row['raised_ns'])}" if dead else f"{row['number']:>5}  {clock(row['now_ns'])}"
            click.echo(f"{first}  {click.style(row['severity'].upper(), fg=colour, bold=True):<9} {row['text']}{_why_dead(row) if dead else ''}")
        if not rows:
            click.secho("Everything was told." if dead else "Nothing waits to be seen.", fg="green")
    if testing and not all(row["taken"] for row in rows):
        sys.exit(1)


def _why_dead(row: Any) -> str:
    times = "" if row["count"] == 1 else f" ({row['count']} times)"
    return f"{times} [{row['why']}]"


def _tested() -> Any:
    from trading_system.app import build
    from trading_system.app.alerts import channels_of, tested
    from trading_system.domain.errors import BadRequest
    from trading_system.transport.clock import SystemClock

    channels = channels_of(settings())
    if not channels:
        raise BadRequest("ALERT_URLS is not set: alerts are in the journal, the log and on the terminal only (docs/ALERTS.md)")

    async def work() -> Any:
        return [row for channel in channels for row in await tested(channel, SystemClock())]

    return build.run(work())


def _dead_letters() -> Any:
    from trading_system.app import build
    from trading_system.app.alerts import DEAD_LETTERS, DeadLetters

    return DeadLetters(build.state_folder(settings()) / DEAD_LETTERS).read()


@click.command()
@click.option("--after", "after_s", type=click.IntRange(10), default=60, show_default=True, help="Seconds without a heartbeat.")
def deadman(after_s: int) -> None:
    """Run this beside a running desk (`trading watch`), as a process of its own."""
    from trading_system.app import build

    config = settings(running=True)

    def say(text: str) -> None:
        import time

        click.echo(f"{clock(time.time_ns())}  {text}")

    say(f"watching the heartbeat; after {after_s} s without one, this desk's entries are cancelled and the kill file is set. Ctrl-C ends it.")
    build.run(build.watch_heartbeat(config, after_ns=after_s * 1_000_000_000, say=say))


# The guide's warnings and checklist, all of them.
_WARNINGS = (
    "LIVE TRADING: REAL MONEY AT RISK. You can lose your entire account.",
    "Start small ($500-1000 at most). Test thoroughly on paper first. Never risk money that you cannot afford to lose.",
    "LEVERAGE (margin, futures, forex): you can lose more than you invest. Extremely high risk, not for beginners.",
    "Crypto futures can have a leverage of 100 and more: instant liquidation. Know how a liquidation works before you use any.",
    "Recommended: start with no leverage (1x), at most 2x for stocks, at most 1x for crypto (spot only).",
    "The limits in force: {leverage}x in all, {crypto}x for crypto.",
)
_PAPER_DAYS = 30
_LIMITS = ("MAX_DAILY_LOSS_PCT", "MAX_DRAWDOWN_PCT")


@click.command()
@click.option("--max-notional", required=True, help="The most, in all, that new live orders may be worth until then.")
@click.option("--until", required=True, help="When it ends: 2026-12-24T21:00+01:00, at most 24 hours from now.")
@as_json
def arm(max_notional: str, until: str, as_json: bool) -> None:
    from trading_system.app import build
    from trading_system.domain.errors import RiskRefused

    most, until_ns = _most(max_notional), _until_ns(until)
    config = settings()
    accounts = build.accounts_of(config)
    if accounts[0].environment != "live":
        raise RiskRefused(
            "ARM",
            "live desks",
            "this one is a paper desk",
            "Set TRADING_MODE=live, and the broker's own switch where it has one (docs/brokers), first.",
        )
    findings = config.unsafe_files()
    if findings:
        raise RiskRefused("ARM", "a safe .env", "; ".join(findings), "Mend it, then arm.")
    for warning in _WARNINGS:
        text = warning.format(leverage=config.max_leverage, crypto=config.crypto_max_leverage)
        click.secho(text, fg="red", bold=True, err=True)
    for line, found in _checklist(config, _paper_days(config)):
        if found is not None:
            click.echo(f"  ✓ {line}: {found}", err=True)
        elif not click.confirm(f"  {line}?", err=True):
            raise RiskRefused("ARM", "every line of the checklist", "one is not true yet", "Live can wait.")
    number = call("account", {})["accounts"][0]["account"]
    if click.prompt(f"Type the account number ({number[:3]}…) to arm up to {money(most)}", err=True) != number:
        raise RiskRefused("ARM", "the account number", "another one was typed", "Nothing is armed.")
    armed = call("arm", {"account": number, "max_notional": most, "until_ns": until_ns})
    if as_json:
        emit(armed)
    else:
        click.secho(
            f"Armed {', '.join(armed['accounts'])} up to {money(armed['max_notional'])} until {clock(armed['until_ns'])} UTC.", fg="red", bold=True
        )


def _checklist(config: Config, paper_days: int | None) -> tuple[tuple[str, str | None], ...]:
    """The guide's lines. What a machine has found out about one; None: a person says it."""
    limits = f"MAX_DAILY_LOSS_PCT {config.max_daily_loss_pct}, MAX_DRAWDOWN_PCT {config.max_drawdown_pct}"
    chosen = all(name in config.explicit for name in _LIMITS)
    days = "the paper journal is in use or cannot be read" if paper_days is None else f"this paper journal knows {paper_days} days"
    tested = paper_days is not None and paper_days >= _PAPER_DAYS
    return (
        ("Tested on paper for a month or longer" + ("" if tested else f" ({days})"), days if tested else None),
        ("The strategy shows consistent profitability", None),
        ("You understand all risks, leverage included", None),
        ("Risk limits are in use", limits) if chosen else (f"The limits are defaults that you want: {limits}", None),
        ("You start small, with money that you can afford to lose", None),
        ("Stop-loss mechanisms are in place", None),
        ("Monitoring works (`trading alerts --test`)" + ("" if "ALERT_URLS" in config.secrets else "; ALERT_URLS is not set: nobody is told"), None),
        ("The API key has the least permissions, and none to withdraw", None),
        ("Two-factor authentication is on at every broker", None),
        (".env is not committed to git", "its mode, owner and .gitignore are right" if config.env_file else "there is none"),
        ("You know what trading means for your taxes", None),
    )


def _paper_days(config: Config) -> int | None:
    """On how many different days a paper desk started here; None: nobody can say now."""
    from trading_system.app import build
    from trading_system.domain.errors import BadRequest, DeskError

    async def asked() -> object:
        async with build.open_journal(build.home(config) / "paper") as ask:
            return await ask("journal_days", {})

    try:
        return int(str(build.run(asked())))
    except BadRequest:
        return 0  # there is none
    except DeskError:
        return None


def _most(text: str) -> str:
    """A plain amount above 0, before anything is asked."""
    from trading_system.domain.money import parse_decimal, plain

    try:
        amount = parse_decimal(text)
    except ValueError as error:
        raise click.UsageError(f"--max-notional: {error}") from None
    if amount <= 0:
        raise click.UsageError("--max-notional is an amount above 0")
    return plain(amount)


def _until_ns(text: str) -> int:
    import time

    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise click.UsageError("--until is a time like 2026-12-24T21:00+01:00") from None
    until_ns = int(when.astimezone().timestamp()) * 1_000_000_000
    if not 0 < until_ns - time.time_ns() <= 86_400_000_000_000:
        raise click.UsageError("--until lies within the next 24 hours")
    return until_ns
