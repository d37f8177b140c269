"""check, brokers, account, positions, portfolio, limits, orders, fills, gains."""

import sys
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import click

from trading_system.app.config import load_config
from trading_system.cli.common import as_json, at_broker, call, emit, money, table, warn_of_age
from trading_system.domain.fix import OrdType

if TYPE_CHECKING:
    from trading_system.domain.ports import Facts


@click.command()
@as_json
def check(as_json: bool) -> None:
    found = call("check", {})
    warn_of_age(load_config())
    if as_json:
        emit(found)
    switches = found["dead_man"]
    sound = [_sound(account, found["risk"], switches.get(account["broker"]), show=not as_json) for account in found["accounts"]]
    halts = found["risk"]["halts"]
    for halt in () if as_json else halts:
        click.secho(f"HALTED {halt['scope']}: {halt['rule']} {halt['text']}", fg="red", bold=True)
    sys.exit(1 if not all(sound) else 7 if halts else 0)


def _sound(account: dict[str, Any], risk: dict[str, Any], switch: dict[str, Any] | None, *, show: bool) -> bool:
    """Whether this account may be traded but for what is halted, and why not."""
    up = bool(account["tradable"] and risk["ready"][account["broker"]])
    halts = [halt for halt in risk["halts"] if halt["scope"].partition(":")[0] in ("all", "crypto", account["broker"])]
    if show:
        click.secho(f"{'✅' if up and not halts else '⚠️ '} {account['broker']} {account['environment']} account {account['account']}", bold=True)
        click.echo(f"   equity {money(account['equity'])} {account['currency']}, buying power {money(account['buying_power'])}")
        why = account["text"] or "the order stream is not up yet; try again, or see `trading doctor`"
        differ = {"MISMATCH", "CASH", "STRANGER"} & {halt["rule"] for halt in halts}
        said = ["order stream live", *(["books agree"] if not differ else []), *(["halted"] if halts else [])]
        click.echo(f"   {', '.join(said) if up else why}")
        if switch is not None:
            click.echo(f"   dead man's switch {'armed' if switch['armed'] else 'off: ' + switch['text']}")
    return up


@click.command()
@as_json
def brokers(as_json: bool) -> None:
    from trading_system.brokers import registry

    config = load_config()
    rows: list[dict[str, Any]] = []
    for name in config.brokers:
        facts = registry.facts(name)
        kinds = ", ".join(sorted({str(rule.asset_class) for rule in facts.rules}))
        configured = "yes" if config.credentials(name) else "no"
        rows.append({"broker": name, "title": facts.title, "status": "works", "assets": kinds, "configured": configured, "orders": _takes(facts)})
    if as_json:
        emit(rows)
        return
    columns = [("broker", "Broker", "text"), ("title", "Name", "text"), ("status", "Connector", "text"), ("assets", "Assets", "text")]
    table(rows, [*columns, ("configured", "Keys", "text")], "")
    click.echo()
    lines = [
        {
            "broker": row["broker"],
            "asset_class": line["asset_class"],
            "ord_types": ", ".join(line["ord_types"]),
            "tifs": ", ".join(line["times_in_force"]),
            "more": _more(line),
        }
        for row in rows
        for line in row["orders"]
    ]
    columns = [("broker", "Broker", "text"), ("asset_class", "Asset", "text"), ("ord_types", "Order types", "text")]
    table(lines, [*columns, ("tifs", "Time in force", "text"), ("more", "Also", "text")], "")


def _more(line: dict[str, Any]) -> str:
    said = [name.replace("_", " ") for name in ("fractional", "extended_hours") if line[name]]
    said += [f"up to {line['legs_max']} legs"] if line["legs_max"] else []
    said += [f"{line['combo_legs_max']} with shares"] if line["combo_legs_max"] else []
    return ", ".join(said)


def _takes(facts: "Facts") -> list[dict[str, Any]]:
    """What a broker takes, a line for each combination."""
    return [
        {
            "asset_class": rule.asset_class.value,
            "ord_types": sorted(kind.value for kind in rule.ord_types),
            "times_in_force": sorted(tif.value for tif in rule.times_in_force),
            "fractional": rule.fractional,
            "extended_hours": rule.extended_hours,
            "legs_max": facts.legs_max if rule.asset_class.is_option and OrdType.LIMIT in rule.ord_types else 0,
            "combo_legs_max": facts.combo_legs_max if rule.asset_class.is_option and OrdType.LIMIT in rule.ord_types else 0,
        }
        for rule in facts.rules
    ] + [
        {
            "asset_class": link.asset_class.value,
            "ord_types": sorted(kind.value for kind in link.contingencies),
            "times_in_force": sorted(tif.value for tif in link.times_in_force),
            "fractional": False,
            "extended_hours": False,
            "legs_max": 0,
            "combo_legs_max": 0,
        }
        for link in facts.links
    ]


@click.command()
@at_broker
@click.option("--history", is_flag=True, help="What it was worth over time.")
@click.option("--period", default="1M", show_default=True, help="With --history: how far back, in D, W, M or A (years).")
@click.option("--timeframe", type=click.Choice(["1Min", "5Min", "15Min", "1H", "1D"]), default="1D", show_default=True, help="With --history.")
@as_json
def account(broker: str | None, history: bool, period: str, timeframe: str, as_json: bool) -> None:
    if history:
        _history(broker, period, timeframe, as_json=as_json)
        return
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


_BARS = "▁▂▃▄▅▆▇█"
_ROWS_MAX = 20  # of the table; the line above it has all


def _history(broker: str | None, period: str, timeframe: str, *, as_json: bool) -> None:
    found = call("equity", {"broker": broker, "period": period, "timeframe": timeframe})
    if as_json:
        emit(found)
        return
    points = found["points"]
    if points:
        click.secho(f"{_sparkline([Decimal(point['equity']) for point in points])}  {period}, {found['timeframe']}", fg="cyan")
    columns = [("open_ns", "From (UTC)", "time"), ("equity", "Equity", "money"), ("profit_loss", "P&L since the first", "signed")]
    table(points[-_ROWS_MAX:], columns, "Nothing in that time.")


def _sparkline(values: list[Decimal]) -> str:
    """At most a screen's width: where there are more, every so-many-th, and the last."""
    step = -(-len(values) // 60)
    shown = values[::-step][::-1]
    low, high = min(shown), max(shown)
    return "".join(_BARS[int((value - low) * (len(_BARS) - 1) / (high - low)) if high > low else 0] for value in shown)


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
@as_json
def portfolio(as_json: bool) -> None:
    found = call("portfolio", {})
    if as_json:
        emit(found)
        return
    currency = found["currency"]
    cash = ", ".join(f"{money(amount)} {name}" for name, amount in found["cash"].items())
    leverage = "" if found["leverage"] is None else f", {float(found['leverage']):.2f} × leverage"
    click.secho(f"Equity {money(found['equity'])} {currency}", bold=True)
    click.echo(f"Cash {cash}; long {money(found['long'])}, short {money(found['short'])} {currency}{leverage}\n")
    rows = [{**row, "part": None if row["part"] is None else f"{100 * float(row['part']):.1f} %"} for row in found["positions"]]
    columns = [("broker", "Broker", "text"), ("instrument", "Instrument", "text"), ("qty", "Quantity", "number"), ("mark_px", "Mark", "number")]
    columns += [("worth", f"Worth, {currency}", "money"), ("part", "Of equity", "number"), ("unrealized_pnl", "P&L", "signed")]
    table(rows, columns, "Nothing is held.")
    if found["unpriced"]:
        click.secho(f"Without a price, and counted in nothing above: {', '.join(found['unpriced'])}", fg="yellow")


_NEAR, _FULL = 0.8, 1.0


@click.command()
@as_json
def limits(as_json: bool) -> None:
    found = call("limits", {})
    if as_json:
        emit(found)
        return
    for limit in found["limits"]:
        used = None if limit["used"] is None else float(limit["used"])
        bar = "·" * 20 if used is None else ("█" * min(20, round(20 * used))).ljust(20, "·")
        colour = "red" if used is not None and used >= _FULL else "yellow" if used is not None and used >= _NEAR else "green"
        name = limit["name"].replace("_", " ")
        click.echo(f"{name:<23} {click.style(bar, fg=colour)} {_figure(limit, limit['now']):>8} of {_figure(limit, limit['limit'])}")
    for halt in found["halts"]:
        click.secho(f"HALTED {halt['scope']}: {halt['rule']} {halt['text']}", fg="red", bold=True)


def _figure(limit: dict[str, Any], value: str | None) -> str:
    if value is None:
        return "–"
    if "leverage" in limit["name"]:
        return f"{float(value):.2f} ×"
    return f"{float(value):g}" if limit["name"] in ("positions", "open_orders") else f"{100 * float(value):.1f} %"


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
    lines = [{**row, "state": _state(row), "trail": _trail(row), "ord_type": _kind(row), "text": _said(row), "order_qty": _size(row)} for row in rows]
    columns = [("cl_ord_id", "Order", "text"), ("instrument", "Instrument", "text"), ("side", "Side", "text"), ("ord_type", "Type", "text")]
    columns += [("order_qty", "Quantity", "number"), ("price", "Limit", "number")]
    columns += [("stop_px", "Stop", "number")] if any(row["stop_px"] for row in rows) else []
    columns += [("trail", "Trail", "text")] if any(line["trail"] for line in lines) else []
    columns += [("cum_qty", "Filled", "number"), ("avg_px", "At", "number")]
    columns += [("parent", "Part of", "text")] if any(row["parent"] for row in rows) else []
    table(lines, [*columns, ("state", "State", "text"), ("text", "", "text")], empty)


def _size(row: dict[str, Any]) -> str | None:
    """Units, or the money that is to be spent."""
    return row["order_qty"] if row["cash_order_qty"] is None else f"{row['cash_order_qty']} {row['instrument'].partition('/')[2] or 'USD'}"


def _kind(row: dict[str, Any]) -> str:
    return f"{len(row['legs'])} legs" if row["legs"] else str(row["ord_type"])


def _said(row: dict[str, Any]) -> str:
    """What an order of several legs is made of, as `trading spread` has it, and what the broker said of it."""
    legs = (f"{leg['side']}:{leg['instrument']}{'' if leg['ratio_qty'] == 1 else ':' + str(leg['ratio_qty'])}" for leg in row["legs"])
    return "; ".join(filter(None, (" ".join(legs), str(row["text"]))))


def _state(row: dict[str, Any]) -> str:
    known = "held" if row["parent"] and row["ord_status"] == "suspended" else row["ord_status"]
    return known if row["doubt"] == "none" else f"{known}, {row['doubt']}"


def _trail(row: dict[str, Any]) -> str | None:
    if row["trail_pct"] is not None:
        return f"{float(row['trail_pct']) * 100:g} %"
    return None if row["trail_px"] is None else str(row["trail_px"])


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


@click.command()
@at_broker
@click.option("--count", type=click.IntRange(1, 1000), default=20, show_default=True)
@as_json
def gains(broker: str | None, count: int, as_json: bool) -> None:
    rows = call("gains", {"broker": broker, "count": count})
    if as_json:
        emit(rows)
        return
    columns = [("instrument", "Instrument", "text"), ("qty", "Quantity", "number"), ("opened", "Opened", "text"), ("closed", "Closed", "text")]
    table(rows, [*columns, ("cost", "Cost", "money"), ("proceeds", "Proceeds", "money"), ("gain", "Gain", "signed")], "Nothing was closed.")
