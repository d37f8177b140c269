"""`trading`: the list of commands, each loaded when it is called, and the one place where errors become exit codes."""

import importlib
import sys
from typing import NoReturn

import click

from trading_system import __version__
from trading_system.domain.errors import DeskError

# name: (module, what it does). Written out, so that --help imports none of them.
_COMMANDS = {
    "demo": ("demo", "See it work in a minute: no key, no network, nothing left behind."),
    "init": ("init", "Make the settings file: broker, keys, goal, limits, then a check."),
    "check": ("accounts", "Connect to every configured broker and say what is wrong, if anything."),
    "brokers": ("accounts", "The brokers, what each takes, and which are configured."),
    "account": ("accounts", "Equity, cash, buying power, and the risk limits against them."),
    "positions": ("accounts", "What is held, at what price, worth how much."),
    "portfolio": ("accounts", "One book over all accounts, in one currency."),
    "limits": ("accounts", "How much of each limit is used, and what is halted."),
    "orders": ("accounts", "Working orders (--all: every order of this journal)."),
    "fills": ("accounts", "Every execution this journal knows."),
    "gains": ("accounts", "What closed positions came to, as the broker reckons it."),
    "buy": ("orders", "Buy: trading buy AAPL 10 [--limit 99.50]."),
    "sell": ("orders", "Sell: trading sell AAPL 10 [--limit 101.00]."),
    "bracket": ("orders", "Buy with both exits at the broker: trading bracket AAPL 10 --take-profit 250 --stop-loss 220."),
    "oco": ("orders", "Two exits for what is held, of which one ends the other."),
    "spread": ("orders", "Several options, or shares with options, as one: trading spread 1 buy:AAPL:100 sell:AAPL261218C00210000 --limit 195.90."),
    "cancel": ("orders", "Cancel one order, or --all."),
    "flatten": ("orders", "Cancel everything, close everything, say what is left."),
    "quote": ("market", "Best bid and offer."),
    "book": ("market", "The best levels of the order book."),
    "watch": ("market", "Run the desk and show quotes, orders and alerts as they come."),
    "events": ("events", "Show what happens to orders at the broker, as it happens; no desk."),
    "bars": ("market", "Price history."),
    "chain": ("market", "The options on an instrument: trading chain AAPL [--expiry 2026-12-18]."),
    "strikes": ("market", "The strikes of one day's options: trading strikes AAPL [--expiry 2026-12-18]."),
    "hours": ("market", "Whether the market is open, and what comes next."),
    "search": ("market", "Instruments by a part of their symbol or name: trading search apple."),
    "news": ("news", "The newest articles: trading news [AAPL BTC/USD] [--follow]."),
    "plan": ("plan", "The odds of the goal, with and without your limits."),
    "run": ("run", "Run strategies: trading run ma-cross --set bars=1m; paper unless TRADING_MODE says live."),
    "serve": ("serve", "One desk as a service: HTTP API, events, and a page in the browser."),
    "token": ("serve", "Who may ask it: trading token add phone --scope read,halt."),
    "backtest": ("backtest", "A strategy over the past, on the same desk: trading backtest ma-cross --data AAPL=prices.csv."),
    "sweep": ("backtest", "Many backtests over parameters, and how much the best is to be believed."),
    "strategies": ("backtest", "The strategies that are here, and what can be set."),
    "data": ("backtest", "Fetch a broker's history into a file: trading data download AAPL --period 1d --count 500 --out aapl.csv."),
    "size": ("signals", "What the sizer would make of a signal now: trading size AAPL --side buy --p 0.55 --stop 98 --target 104."),
    "why": ("signals", "Why a signal was taken, or not: the rule that bound, and its numbers."),
    "convexity": ("plan", "What a payoff gains from moves as such: trading convexity --payoff stop --stop 0.05 --vol 0.10."),
    "halt": ("risk", "Stop taking risk, now. Exits still pass."),
    "resume": ("risk", "Clear a halt; typed twice."),
    "resolve": ("risk", "Close an order in doubt that you looked for at the broker, and that is not there."),
    "alerts": ("risk", "What nobody has acknowledged yet; --ack says that you have seen it."),
    "deadman": ("risk", "A watchdog: cancels this desk's entries when its heartbeat stops."),
    "arm": ("risk", "Let live orders out, up to an amount, until a time."),
    "twins": ("twins", "Serve a broker's twin on this machine."),
    "credentials": ("credentials", "Keep keys in the OS keyring; list, check, and their age."),
    "doctor": ("doctor", "What is installed, configured, and safe."),
    "journal": ("journal", "Show, verify, back up or export the journal."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        if name not in _COMMANDS:
            return None
        module = importlib.import_module(f"trading_system.cli.{_COMMANDS[name][0]}")
        command = getattr(module, name)
        assert isinstance(command, click.Command)
        command.short_help = command.help = _COMMANDS[name][1]
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in _COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="trading")
def trading() -> None:
    """One desk, paper and live, that sends an order once and remembers everything.

    Exit codes: 0 ok · 1 refused or failed · 2 usage · 3 another desk holds the lease · 4 credentials · 5 broker or desk unreachable ·
    6 in doubt, do not retry · 7 halted · 8 journal damaged.
    """


def run() -> NoReturn:
    """The program: errors of ours are one sentence and an exit code; anything else is a bug, with a traceback that holds no secret."""
    try:
        result = trading.main(standalone_mode=False)
        sys.exit(result if isinstance(result, int) else 0)
    except click.exceptions.Abort:
        click.echo("stopped", err=True)
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(2)
    except DeskError as error:
        from trading_system.app.logs import redact

        click.echo(f"{click.style(_title(error), fg='red', bold=True, bg=None)} {redact(str(error))}", err=True)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("trading_system"):
            raise
        extra = _EXTRAS.get((error.name or "").partition(".")[0], "exchange")
        click.echo(f'the package {error.name} is missing: run `source .venv/bin/activate`, then `uv pip install -e ".[{extra}]"`', err=True)
        sys.exit(1)


_EXTRAS = {"apprise": "alerts", "numba": "research", "plotly": "research", "polars": "research"}  # else what a broker needs


def _title(error: DeskError) -> str:
    titles = {1: "Refused:", 2: "Not understood:", 3: "Busy:", 4: "Credentials:", 5: "Unreachable:", 6: "In doubt:", 7: "Halted:", 8: "Journal:"}
    return titles[error.exit_code]


if __name__ == "__main__":
    run()
