"""check, brokers, account, positions, orders, fills."""

from typing import Any

import click

from trading_system.cli.common import as_json, at_broker, call, emit, money, settings, table


@click.command()
@as_json
def check(as_json: bool) -> None:
    from trading_system.app import build
    from trading_system.app.verbs import VERBS

    config = settings()
    accounts = build.accounts_of(config)

    async def look() -> Any:
        async with build.open_desk(config, accounts, listen=False) as desk:
            await desk.wait(lambda: all(desk.ready.values()), build.READY_WITHIN_NS)
            return await VERBS["account"](desk, {})

    found = build.run(look())
    if as_json:
        emit(found)
        return
    for account in found["accounts"]:
        ok = account["tradable"] and found["risk"]["ready"][account["broker"]]
        click.secho(f"{'✅' if ok else '⚠️ '} {account['broker']} {account['environment']} account {account['account']}", bold=True)
        click.echo(f"   equity {money(account['equity'])} {account['currency']}, buying power {money(account['buying_power'])}")
        click.echo(
            "   order stream live, books agree"
            if ok
            else f"   {account['text'] or 'the order stream is not up yet; try again, or see `trading doctor`'}"
        )


@click.command()
@as_json
def brokers(as_json: bool) -> None:
    from trading_system.app.config import load_config
    from trading_system.brokers import registry

    config = load_config()
    rows = []
    for name in registry.BROKERS:
        facts = registry.facts(name)
        kinds = sorted({str(rule.asset_class) for rule in facts.rules})
        configured = bool(config.credentials(name))
        rows.append(
            {"broker": name, "title": facts.title, "status": "works", "assets": ", ".join(kinds), "configured": "yes" if configured else "no"}
        )
    rows += [{"broker": name, "title": title, "status": "not yet", "assets": "", "configured": ""} for name, title in registry.PLANNED.items()]
    if as_json:
        emit(rows)
        return
    columns = [("broker", "Broker", "text"), ("title", "Name", "text"), ("status", "Connector", "text"), ("assets", "Assets", "text")]
    table(rows, [*columns, ("configured", "Keys", "text")], "")


@click.command()
@at_broker
@as_json
def account(broker: str | None, as_json: bool) -> None:
    found = call("account", {"broker": broker})
    if as_json:
        emit(found)
        return
    columns = [("broker", "Broker", "text"), ("account", "Account", "text"), ("environment", "Kind", "text"), ("equity", "Equity", "money")]
    table(found["accounts"], [*columns, ("cash", "Cash", "money"), ("buying_power", "Buying power", "money"), ("currency", "", "text")], "")
    risk = found["risk"]
    if "equity" in risk:
        loss, fall = float(risk["day_loss"]) * 100, float(risk["drawdown"]) * 100
        click.echo(f"\nToday's loss {loss:.2f} %, below the high {fall:.2f} % (of {money(risk['high_water'])})")
    for halt in risk["halts"]:
        click.secho(f"HALTED {halt['scope']}: {halt['rule']} {halt['text']}", fg="red", bold=True)


@click.command()
@at_broker
@as_json
def positions(broker: str | None, as_json: bool) -> None:
    rows = call("positions", {"broker": broker})
    if as_json:
        emit(rows)
        return
    columns = [("broker", "Broker", "text"), ("instrument", "Instrument", "text"), ("qty", "Quantity", "number"), ("avg_px", "Average", "number")]
    table(rows, [*columns, ("mark_px", "Mark", "number"), ("market_value", "Value", "money"), ("unrealized_pnl", "P&L", "signed")], "No positions.")


@click.command()
@at_broker
@click.option("--all", "everything", is_flag=True, help="Closed ones too.")
@as_json
def orders(broker: str | None, everything: bool, as_json: bool) -> None:
    rows = call("orders", {"broker": broker, "all": everything})
    if as_json:
        emit(rows)
        return
    show_orders(rows, "No orders." if everything else "No working orders.")


def show_orders(rows: list[dict[str, Any]], empty: str) -> None:
    """Orders as one table; the buy and sell commands show theirs the same way."""
    lines = [{**row, "state": row["ord_status"] if row["doubt"] == "none" else f"{row['ord_status']}, {row['doubt']}"} for row in rows]
    columns = [("cl_ord_id", "Order", "text"), ("instrument", "Instrument", "text"), ("side", "Side", "text"), ("ord_type", "Type", "text")]
    columns += [("order_qty", "Quantity", "number"), ("price", "Limit", "number"), ("cum_qty", "Filled", "number"), ("avg_px", "At", "number")]
    table(lines, [*columns, ("state", "State", "text"), ("text", "", "text")], empty)


@click.command()
@at_broker
@as_json
def fills(broker: str | None, as_json: bool) -> None:
    rows = call("fills", {"broker": broker})
    if as_json:
        emit(rows)
        return
    columns = [("transact_ns", "Time (UTC)", "time"), ("instrument", "Instrument", "text"), ("side", "Side", "text"), ("qty", "Quantity", "number")]
    table(rows, [*columns, ("price", "Price", "number"), ("cl_ord_id", "Order", "text")], "No fills.")
