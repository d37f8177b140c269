"""buy, sell, bracket, oco, spread, cancel, flatten."""

import sys
from collections.abc import Callable
from typing import Any

import click

from trading_system.cli.accounts import show_orders
from trading_system.cli.common import as_json, at_broker, call, emit, new_intent
from trading_system.domain.fix import OrdType


def _options(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.argument("quantity", required=False),
        click.argument("instrument"),  # the option applied last comes first
        click.option("--cash", help="An amount of money instead of a quantity."),
        click.option("--limit", "price", help="Limit price."),
        click.option("--stop", "stop_px", help="Stop price; with --limit a stop-limit."),
        click.option("--if-touched", is_flag=True, help="With --stop: a market order once that price is met, from above or below."),
        click.option("--trail", "trail_px", help="A stop that follows the market at this distance."),
        click.option("--trail-pct", help="The same as a fraction of the price: 0.05 is 5 %."),
        click.option("--protect", "protect_stop_px", help="A stop at this price for whatever it fills, kept at the broker by the desk."),
        click.option("--tif", "time_in_force", help="day, gtc, ioc, fok, opg or cls (default: day, crypto gtc)."),
        click.option("--extended-hours", is_flag=True, help="Also before the open and after the close (limit, day)."),
        click.option("--reduce-only", is_flag=True, help="Only ever shrink the position."),
        click.option("--repeat", is_flag=True, help="Mean the same order a second time within a few seconds."),
        click.option("--intent", help="A key of your own: the same key never becomes two orders, however often it is run."),
        click.option("--dry-run", is_flag=True, help="Walk the whole path and place nothing."),
        at_broker,
        as_json,
    ):
        function = option(function)
    return function


def _place(side: str, options: dict[str, Any], verb: str = "submit") -> None:
    printing, dry_run = options.pop("as_json"), options.pop("dry_run")
    named = {"order_qty": options.pop("quantity"), "cash_order_qty": options.pop("cash", None)}
    if options.pop("if_touched", False):
        named["ord_type"] = OrdType.MARKET_IF_TOUCHED.value
    args = {**options, **named, "side": side, "intent": new_intent() if options["intent"] is None else options["intent"]}
    order = call(verb, args, dry_run=dry_run)
    if printing:
        emit(order)
    else:
        show_orders([order], "")
    sys.exit(_exit_code(order))


def _exit_code(order: dict[str, Any]) -> int:
    if order["doubt"] in ("in_doubt", "escalated"):
        click.secho("The broker did not answer. The desk asks what became of it: run `trading orders`, do not send it again.", fg="yellow", err=True)
        return 6
    if order["ord_status"] == "rejected":
        return 0 if order["order_id"] is None and order["text"].startswith("dry run") else 1  # --dry-run, or DRY_RUN of the desk that took it
    return 0


@click.command()
@_options
def buy(**options: Any) -> None:
    _place("buy", options)


@click.command()
@_options
def sell(**options: Any) -> None:
    _place("sell", options)


def _linked(function: Callable[..., None]) -> Callable[..., None]:
    for option in (
        click.argument("quantity"),
        click.argument("instrument"),
        click.option("--take-profit", "take_profit_px", help="Out with a gain: a limit order at this price."),
        click.option("--stop-loss", "stop_loss_px", help="Out with a loss: a stop at this price."),
        click.option("--stop-limit", "stop_loss_limit_px", help="Where the stop goes off, sell (or buy back) no worse than at this price."),
        click.option("--tif", "time_in_force", help="How long the exits stand: day or gtc (default: gtc, where the broker takes that)."),
        click.option("--repeat", is_flag=True, help="Mean the same order a second time within a few seconds."),
        click.option("--intent", help="A key of your own: the same key never becomes two orders, however often it is run."),
        click.option("--dry-run", is_flag=True, help="Walk the whole path and place nothing."),
        at_broker,
        as_json,
    ):
        function = option(function)
    return function


@click.command()
@_linked
@click.option("--limit", "price", help="Limit price of the entry.")
@click.option("--sell", "short", is_flag=True, help="Enter short: sell now, buy back by one of the exits.")
def bracket(*, short: bool, **options: Any) -> None:
    """With one of the two exits it is an OTO."""
    if options["take_profit_px"] is None and options["stop_loss_px"] is None:
        raise click.UsageError("name --take-profit, --stop-loss, or both")
    _place("sell" if short else "buy", options)


@click.command()
@_linked
@click.option("--short", is_flag=True, help="What is held was sold short: the exits buy.")
def oco(*, short: bool, **options: Any) -> None:
    """The take-profit is the order itself, the stop stands beside it."""
    if options["take_profit_px"] is None or options["stop_loss_px"] is None:
        raise click.UsageError("name --take-profit and --stop-loss; for one exit alone use sell --limit or sell --stop")
    price = options.pop("take_profit_px")
    _place("buy" if short else "sell", {**options, "price": price, "reduce_only": True})


@click.command()
@click.argument("quantity")
@click.argument("legs", nargs=-1, required=True)
@click.option("--limit", "price", required=True, help="The net price of all legs for each share: above zero you pay, below zero you are paid.")
@click.option("--tif", "time_in_force", default="day", show_default=True, help="How long it stands: day, or gtc where the broker takes that.")
@click.option("--repeat", is_flag=True, help="Mean the same order a second time within a few seconds.")
@click.option("--intent", help="A key of your own: the same key never becomes two orders, however often it is run.")
@click.option("--dry-run", is_flag=True, help="Walk the whole path and place nothing.")
@at_broker
@as_json
def spread(**options: Any) -> None:
    """Legs are side:SYMBOL or side:SYMBOL:ratio: options, and at a broker that takes combos the shares that one contract is about, buy:AAPL:100.

    \b
    A buy-write           trading spread 1 buy:AAPL:100 sell:AAPL261218C00210000 --limit 195.90
    Shares with a collar  trading spread 1 buy:AAPL:100 buy:AAPL261218P00190000 sell:AAPL261218C00210000 --limit 199.40
    """
    _place("buy", {**options, "legs": list(options["legs"])}, verb="spread")


@click.command()
@click.argument("cl_ord_id", required=False)
@click.option("--all", "everything", is_flag=True, help="Every working order of this desk.")
@at_broker
@as_json
def cancel(cl_ord_id: str | None, everything: bool, broker: str | None, as_json: bool) -> None:
    if (cl_ord_id is None) == (not everything):
        raise click.UsageError("name an order (see `trading orders`), or --all")
    rows = call("cancel", {"cl_ord_id": cl_ord_id, "all": everything or None, "broker": broker})
    if as_json:
        emit(rows)
    else:
        show_orders(rows, "Nothing to cancel.")
    codes = {_cancel_code(row) for row in rows}
    if 6 in codes:
        click.secho("A cancel is not confirmed. `trading orders` says how the order stands; the desk goes on asking.", fg="yellow", err=True)
    sys.exit(max(codes, default=0))


def _cancel_code(order: dict[str, Any]) -> int:
    """0: it is over and fills no more. 1: it filled, was replaced, or stands as the broker says. 6: nobody knows yet."""
    if order["ord_status"] in ("canceled", "expired", "rejected"):
        return 0
    return 6 if order["doubt"] != "none" or order["ord_status"] in ("pending_cancel", "pending_new") else 1


@click.command()
@at_broker
@click.option("--all", "everything", is_flag=True, help="Every broker (the default, where no broker is named).")
@as_json
def flatten(broker: str | None, everything: bool, as_json: bool) -> None:
    residue = call("flatten", {"broker": None if everything else broker})
    if as_json:
        emit(residue)
    elif not any(residue.values()):
        click.secho("Flat: no orders, no positions.", fg="green")
    else:
        for position in residue["positions"]:
            why = ", less than can be traded" if position["dust"] else ""
            click.secho(f"left: {position['qty']} {position['instrument']} at {position['broker']}{why}", fg="yellow")
        for order in residue["orders"]:
            click.secho(f"still working: {order}", fg="yellow")
        for problem in residue["problems"]:
            click.secho(f"problem: {problem}", fg="red")
    left = residue["problems"] or any(not position["dust"] for position in residue["positions"])
    sys.exit(6 if residue["orders"] else 1 if left else 0)  # an order that still works may still fill
