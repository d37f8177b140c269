"""plan and convexity: the numbers of the definitions by the front door, the page, and what is said to wrong input."""

import json
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.cli.shell import CLEAN, TRADING, Shell
from trading_system.cli.main import trading

SILENT = {"TRADING_ENV_FILE": "/dev/null", "COLUMNS": "100"}


def run(*args: str) -> Result:
    return CliRunner().invoke(trading, [*args], env=SILENT, catch_exceptions=False)


def plan(*args: str) -> dict[str, object]:
    done = run("plan", "--json", "--paths", "200", *args)

    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_the_goal_of_the_settings_is_a_hundredfold_and_its_odds_are_said() -> None:
    found = plan()

    assert found["required_growth"] == pytest.approx(4.6052, abs=5e-5)
    assert found["ceiling"] == pytest.approx(0.0924, abs=5e-5)
    assert found["p_target_terminal"] < 1e-16  # type: ignore[operator]
    assert found["p_halved_ever"] == pytest.approx(0.125)
    assert found["best_kelly"] == 1
    assert found["simulated"]["p_target"] == 0  # type: ignore[index]


def test_the_reference_values_come_out_at_the_front_door() -> None:
    double = ("--capital", "5000", "--target", "10000", "--days", "365", "--sharpe", "1", "--rate", "0")

    full, half = plan(*double, "--kelly", "1"), plan(*double, "--kelly", "0.5")

    assert (full["p_target_terminal"], full["p_target_touch"]) == (pytest.approx(0.4234, abs=5e-5), pytest.approx(0.6562, abs=5e-5))
    assert (half["p_target_terminal"], half["ceiling"]) == (pytest.approx(0.2623, abs=5e-5), pytest.approx(0.8413, abs=5e-5))
    assert plan("--sharpe", "2")["ceiling"] == pytest.approx(0.3721, abs=5e-5)
    assert set(half["simulated"]) >= {"p_target", "p_touch", "p_halted", "median_terminal", "percentiles", "expected_shortfall"}  # type: ignore[call-overload]
    assert half["horizon_for_even_odds_days"] == pytest.approx(0.693147 / 0.375 * 365, rel=1e-4)


def test_many_paths_on_several_processors_are_those_of_one(monkeypatch: pytest.MonkeyPatch) -> None:
    several = plan("--paths", "2600")
    monkeypatch.setattr("os.cpu_count", lambda: 1)

    assert plan("--paths", "2600") == several


def test_the_page_stands_alone(tmp_path: Path) -> None:
    target = tmp_path / "plan.html"
    done = run("plan", "--paths", "200", "--target", "6000", "--html", str(target))
    page = target.read_text()

    assert done.exit_code == 0
    assert "Under your limits" in done.output
    assert "╌" in done.output
    assert "<svg" in page
    assert "chance to be there on the day" in page
    assert "http" not in page
    assert "<script" not in page


def test_a_record_is_believed_less_one_standard_error(tmp_path: Path) -> None:
    days = tmp_path / "days.csv"
    days.write_text("day,return\n" + "".join(f"2026-01-{place:02},{value}\n" for place, value in enumerate([0.02, -0.01, 0.015, 0.0, 0.01] * 5, 1)))
    found = plan("--returns", str(days))

    assert found["tails"] == "sample"
    assert 0 < found["sharpe"] < 0.007 / 0.01 * 252**0.5  # type: ignore[operator]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("0.01\nnan\n0.02\n", "line 2"),
        ("1.2%\n0.01\n0.02x\n", "line 3"),
        ("0.01\n", "at least two"),
        ("0.01\n0.01\n", "differ"),
        ("0.01\n12\n", "line 2"),
    ],
)
def test_a_file_that_holds_no_returns_is_refused_with_the_line(tmp_path: Path, text: str, said: str) -> None:
    days = tmp_path / "days.txt"
    days.write_text(text)
    done = CliRunner().invoke(trading, ["plan", "--returns", str(days)], env=SILENT)

    assert done.exit_code != 0
    assert said in str(done.exception)


def test_what_contradicts_itself_is_a_usage_error(tmp_path: Path) -> None:
    days = tmp_path / "days.txt"
    days.write_text("0.01\n-0.01\n")

    assert run("plan", "--returns", str(days), "--sharpe", "2").exit_code == 2
    assert run("plan", "--capital", "0").exit_code == 2
    assert run("convexity", "--payoff", "stop").exit_code == 2
    assert run("convexity", "--payoff", "stock", "--distribution", "empirical").exit_code == 2


@pytest.mark.parametrize(
    ("args", "score"),
    [
        (("stock",), 0),
        (("long-call",), 0.5),
        (("straddle",), 1),
        (("short-put",), -0.5),
        (("covered-call",), -0.5),
        (("stop", "--stop", "0.2", "--gap", "0"), 0.1696),
        (("stop", "--stop", "0.1", "--gap", "0"), 0.3801),
        (("stop", "--stop", "0.05", "--gap", "0"), 0.2765),
        (("stop", "--stop", "0.2", "--gap", "0.02"), 0.1298),
        (("target", "--target", "0.2"), -0.1696),
    ],
)
def test_payoffs_score_as_defined(args: tuple[str, ...], score: float) -> None:
    done = run("convexity", "--json", "--vol", "0.2", "--payoff", *args)

    assert json.loads(done.stdout)["score"] == pytest.approx(score, abs=5e-5)


def test_a_score_is_held_against_what_an_entry_needs(tmp_path: Path) -> None:
    days = tmp_path / "days.txt"
    days.write_text("0.01\n-0.01\n0.03\n-0.03\n")

    assert "it would pass" in run("convexity", "--payoff", "stop", "--stop", "0.02", "--distribution", "empirical", "--returns", str(days)).output
    assert "it would not pass" in run("convexity", "--payoff", "short-put").output


def test_a_size_and_a_reason_at_the_command_line(shell: Shell) -> None:
    price = float(shell.ask("quote", "AAPL")["bid_px"])
    stop = f"{price * 0.975:.2f}"
    found = shell.ask("size", "AAPL", "--mean", "0.02", "--deviation", "0.05", "--stop", stop)

    assert (found["taken"], found["side"]) == (True, "buy")
    assert float(found["qty"]) * price <= 0.3 * 5_000 * 1.001
    assert {"equity", "convexity", "full_kelly", "MAX_POSITION_PCT"} <= set(found["numbers"])
    assert "No trade: its convexity score is 0.0000" in shell.run("size", "AAPL", "--mean", "0.02", "--deviation", "0.05").stdout
    assert "bound by" in shell.run("size", "AAPL", "--weight", "0.2").stdout
    assert shell.ask("why") == []
    assert "No signal was given yet" in shell.run("why").stdout
    assert shell.run("why", "nothing").returncode == 2


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--horizon", "soon"), "whole number of minutes"),
        ((), "say one of"),
        (("--p", "0.5", "--weight", "1"), "say one of"),
        (("--p", "2"), "between 0 and 1"),
        (("--mean", "x"), "plain number"),
    ],
)
def test_a_signal_that_is_none_is_refused(shell: Shell, args: tuple[str, ...], said: str) -> None:
    done = shell.run("size", "AAPL", *args)

    assert (done.returncode, said in done.stderr) == (2, True), done.stderr


BLINK = """
from trading_system.domain.fix import Side
from trading_system.strategy.base import Belief, Strategy

class Blink(Strategy):
    instruments, bars = ("BTC/USD",), "1s"

    def on_bar(self, ctx, bar):
        if not ctx.position("BTC/USD"):
            yield ctx.enter("BTC/USD", Side.BUY, stop=0.01, edge=Belief(0.01, 0.05).edge(Side.BUY), text="because")

    def on_stop(self, ctx):
        yield ctx.leave("BTC/USD", "the end")
"""


def test_a_strategy_runs_on_a_twin_and_its_reasons_are_told(tmp_path: Path) -> None:
    path = tmp_path / "blink.py"
    path.write_text(BLINK)
    done = subprocess.run(
        [*TRADING, "run", str(path), "--twin", "--seconds", "6", "--json", "--html", str(tmp_path / "run.html")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=CLEAN,
    )
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    decisions = [line["decision"] for line in lines if "decision" in line]
    fills = [line["fill"] for line in lines if "fill" in line]

    assert done.returncode == 0, done.stderr
    assert (decisions[0]["taken"], decisions[0]["strategy"], decisions[0]["wish"]["text"]) == (True, "blink", "because")
    assert (fills[0]["side"], fills[-1]["side"]) == ("buy", "sell")
    assert "blink at work" in (tmp_path / "run.html").read_text()
    assert lines[-1]["divergence"]["filled"] == len(decisions[:1]) + 1


def test_a_run_writes_reasons_that_why_tells(shell: Shell) -> None:
    path = shell.home / "blink.py"
    path.write_text(BLINK)
    done = shell.run("run", str(path), "--seconds", "5")

    assert done.returncode == 0, done.stderr
    rows = shell.ask("why")
    assert {row["strategy"] for row in rows} == {"blink"}
    assert shell.ask("why", rows[0]["cl_ord_id"])[0]["intent"] == rows[0]["intent"]
    assert "because" in shell.run("why", "--last", "1").stdout or "the end" in shell.run("why", "--last", "1").stdout
    assert shell.run("run", "ma-cross", "--set", "other.fast=3").returncode == 2
    assert shell.run("run", "no-such-thing").returncode == 2


def test_history_is_fetched_into_a_file_that_a_backtest_reads(shell: Shell) -> None:
    path = shell.home / "aapl.csv"
    done = shell.run("data", "download", "AAPL", "--period", "1d", "--count", "120", "--out", str(path))
    found = json.loads(shell.run("backtest", "buy-and-hold", "--data", str(path), "--json").stdout)

    assert done.returncode == 0, done.stderr
    assert found["events"] == len(path.read_text().splitlines()) - 1 > 50
    assert shell.run("data", "download", "AAPL", "--out", str(path)).returncode == 2
    assert shell.run("data", "download", "AAPL", "--period", "soon", "--out", str(path) + "2").returncode == 2
