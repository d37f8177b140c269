"""halt, resume, alerts, deadman, arm."""

from datetime import datetime
from pathlib import Path
from typing import Any

import click

from trading_system.cli.common import as_json, call, clock, emit, money, settings


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
    set_: Any = build.run(build.call(config, "halt", {"scope": scope, "level": "kill" if kill else level or "halt", "text": reason}))
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
@click.option("--ack", metavar="NUMBER|all", help="You have seen it.")
@as_json
def alerts(ack: str | None, as_json: bool) -> None:
    if ack is not None and ack != "all" and not ack.isdecimal():
        raise click.UsageError("--ack takes the number of an alert, or all")
    rows = call("alerts", {}) if ack is None else call("acknowledge", {"number": "0" if ack == "all" else ack})
    if as_json:
        emit(rows)
        return
    for row in rows:
        colour = "red" if row["severity"] == "critical" else "yellow"
        click.echo(f"{row['number']:>5}  {clock(row['now_ns'])}  {click.style(row['severity'].upper(), fg=colour, bold=True):<9} {row['text']}")
    if not rows:
        click.secho("Nothing waits to be seen.", fg="green")


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


_CHECKLIST = (
    "Tested on paper for a month or longer",
    "The strategy shows consistent results",
    "You understand all risks, leverage included: you can lose more than you invest",
    "You start small, with money you can afford to lose ($500-1000)",
    "Stop-losses are in place",
    "Two-factor authentication is on at the broker",
    "The key has no withdrawal permission",
    "You know what it means for your taxes",
)


@click.command()
@click.option("--max-notional", required=True, help="The most, in all, that new live orders may be worth until then.")
@click.option("--until", required=True, help="When it ends: 2026-12-24T21:00+01:00, at most 24 hours from now.")
@as_json
def arm(max_notional: str, until: str, as_json: bool) -> None:
    from trading_system.app import build
    from trading_system.app.config import env_file_findings
    from trading_system.domain.errors import RiskRefused
    from trading_system.journal.store import Journal

    config = settings()
    accounts = build.accounts_of(config)
    if accounts[0].environment != "live":
        raise RiskRefused("ARM", "live desks", "this one is a paper desk", "Set TRADING_MODE=live and ALPACA_PAPER=false first.")
    until_ns = _until_ns(until)
    findings = env_file_findings(Path(config.env_file)) if config.env_file else ()
    if findings:
        raise RiskRefused("ARM", "a safe .env", "; ".join(findings), "Mend it, then arm.")
    click.secho("LIVE TRADING: REAL MONEY. You can lose your entire account.", fg="red", bold=True, err=True)
    paper = build.home(config) / "paper" / "journal.sqlite"
    click.echo(f"Paper days in this journal: {_days(Journal, paper)} (a month is advised). Alerts: log and terminal only.", err=True)
    limits = f"position {config.max_position_pct}, leverage {config.max_leverage}, day {config.max_daily_loss_pct}, fall {config.max_drawdown_pct}"
    click.echo(f"Limits: {limits}.", err=True)
    for line in _CHECKLIST:
        if not click.confirm(f"  {line}?", err=True):
            raise RiskRefused("ARM", "every line of the checklist", "one is not true yet", "Live can wait.")
    found = call("account", {})
    number = found["accounts"][0]["account"]
    if click.prompt(f"Type the account number ({number[:3]}…) to arm up to {money(max_notional)}", err=True) != number:
        raise RiskRefused("ARM", "the account number", "another one was typed", "Nothing is armed.")
    armed = call("arm", {"max_notional": max_notional, "until_ns": until_ns})
    if as_json:
        emit(armed)
    else:
        click.secho(
            f"Armed {', '.join(armed['accounts'])} up to {money(armed['max_notional'])} until {clock(armed['until_ns'])} UTC.", fg="red", bold=True
        )


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


def _days(journal_type: type, path: Path) -> int:
    """On how many different days a paper desk started here."""
    from trading_system.journal.record import Started

    if not path.exists():
        return 0
    journal = journal_type(path)
    days = {entry.record.now_ns // 86_400_000_000_000 for entry in journal.read() if isinstance(entry.record, Started)}
    journal.abandon()
    return len(days)
