"""Several accounts of one broker in one desk: their settings, the wrapper that gives each its name, and what they share and what they do not."""

import inspect
import os
import pkgutil
import random
import re
from collections.abc import AsyncIterator, Mapping
from decimal import Decimal
from importlib import import_module
from pathlib import Path
from typing import Any, Protocol

import msgspec
import pytest
from msgspec.structs import replace

from tests.app.test_several import desk_on, told
from tests.desks import AAPL, Bench, on_bench, settled, wish
from tests.factories import approved, report
from tests.subjects import ALPACA, ALPACA_IRA, KRAKEN, OANDA, WAYS, Subject
from trading_system import domain
from trading_system.app.build import Account, accounts_of, call, open_desk, served_twin, state_folder, twin_account
from trading_system.app.config import Config, ConfigError, load_config
from trading_system.app.desk import Desk
from trading_system.app.profile import CARRIERS, profiled, renamed
from trading_system.brokers import registry
from trading_system.core.risk import Level, Limits
from trading_system.domain import ports
from trading_system.domain.errors import AuthFailed, BadRequest, Halted, LeaseHeld, RiskRefused
from trading_system.domain.event import AccountEvent
from trading_system.domain.fix import ExecType, OrdStatus, Side
from trading_system.domain.ids import BrokerName, ClOrdID, InstrumentID
from trading_system.domain.order import Approved, Order
from trading_system.domain.ports import CancelsAll, DepthData, RecallsChanges, WaitsItsTurn
from trading_system.domain.report import ExecutionReport
from trading_system.domain.signal import Allocation, Signal
from trading_system.settings.secret import Secret
from trading_system.sim.clock import SECOND_NS, VirtualClock, run_virtual
from trading_system.sim.paper import PaperBroker

D = Decimal
IRA, MAIN = ALPACA_IRA.broker, ALPACA.broker
BOTH = (ALPACA, ALPACA_IRA)
KEYS = "ALPACA_API_KEY=PK12345678\nALPACA_API_SECRET=0123456789\n"
IRA_KEYS = "ALPACA_API_KEY=PK87654321\nALPACA_API_SECRET=9876543210\n"


def load(folder: Path, text: str, environ: dict[str, str] | None = None, **profiles: str) -> Config:
    for name, content in (("", text), *profiles.items()):
        path = folder / (f".env.{name}" if name else ".env")
        path.write_text(content)
        path.chmod(0o600)
    return load_config(environ or {}, env_file=folder / ".env")


# -- settings -------------------------------------------------------------------------------------------------------------------------


def test_a_profile_is_a_broker_of_its_own_with_its_files_keys_and_options(tmp_path: Path) -> None:
    config = load(tmp_path, KEYS + "ALPACA_DATA_FEED=sip\nPROFILES=ira, play\n", ira=IRA_KEYS, play="TRADIER_ACCESS_TOKEN=token-of-play\n")
    accounts = {account.broker: account for account in accounts_of(config)}

    assert list(accounts) == ["alpaca", "alpaca-ira", "tradier-play"]
    assert config.brokers[len(registry.BROKERS) :] == ("alpaca-ira", "tradier-play")
    assert accounts[IRA].credentials["key"] != accounts[MAIN].credentials["key"]
    assert [accounts[name].options["data_feed"] for name in (MAIN, IRA)] == ["sip", "iex"]
    assert (registry.facts("alpaca-ira").title, registry.facts("alpaca-ira").broker) == ("Alpaca (ira)", "alpaca-ira")
    assert [account.broker for account in accounts_of(config, "alpaca-ira")] == ["alpaca-ira"]


def test_the_environment_is_the_main_accounts(tmp_path: Path) -> None:
    """Else ALPACA_API_KEY in the environment would make one account of all."""
    config = load(tmp_path, "", {"PROFILES": "ira", "ALPACA_API_KEY": "PKfromoutside", "ALPACA_API_SECRET": "outside-secret"}, ira=IRA_KEYS)

    assert {config.credentials(name)["key"].reveal() for name in ("alpaca", "alpaca-ira")} == {"PKfromoutside", "PK87654321"}


@pytest.mark.parametrize("name", ["Ira", "my-ira", "alpaca", "example", "new", "ira,ira", "thirteenchars"])
def test_a_name_that_cannot_be_a_profiles_is_refused_with_the_rule(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"\.env:1: PROFILES (lists .* lower case letters and digits|names a profile twice)"):
        load(tmp_path, f"PROFILES={name}\n")


@pytest.mark.parametrize(
    ("ira", "said"),
    [
        ("MAX_LEVERAGE=1\n", r"\.env\.ira:1: MAX_LEVERAGE holds for the whole desk: it belongs in \.env"),
        ("TRADING_MODE=live\n", r"TRADING_MODE holds for the whole desk"),
        ("ALPACA_OAUTH_CLIENT_ID=firm\n", r"ALPACA_OAUTH_CLIENT_ID holds for the whole desk"),
        ("ALPACA_API_KEY=PKa\nALPACA_API_KEY=PKb\n", r"\.env\.ira:2: ALPACA_API_KEY is set twice, first in \.env\.ira:1"),
        ("ALPACA_PAPER=perhaps\n", r"\.env\.ira:1: ALPACA_PAPER is true or false"),
        ("ALPACA_API_KY=PKabcdefgh\n", r"did you mean ALPACA_API_KEY"),
        (IRA_KEYS + "ALPACA_PAPER=false\n", r"\.env\.ira: ALPACA_API_KEY is a paper key"),
    ],
)
def test_what_is_wrong_in_a_profile_is_said_with_its_place(tmp_path: Path, ira: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        load(tmp_path, KEYS + "PROFILES=ira\n", ira=ira)


def test_a_profile_without_a_file_says_how_to_get_one(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"there is no \.env\.ira: `trading init --profile ira` writes it"):
        load(tmp_path, "PROFILES=ira\n")
    config = load(tmp_path, KEYS + "PROFILES=ira\n", ira="ALPACA_DATA_FEED=sip\n")

    assert [account.broker for account in accounts_of(config)] == ["alpaca"]
    assert config.warnings == ("the profile ira has no keys: `trading init --profile ira` asks for them",)


def test_half_a_pair_and_another_mode_are_told_of_the_profile(tmp_path: Path) -> None:
    with pytest.raises(AuthFailed, match=r"ira\.ALPACA_API_SECRET is missing\. Set ALPACA_API_KEY and ALPACA_API_SECRET in \.env\.ira"):
        accounts_of(load(tmp_path, KEYS + "PROFILES=ira\n", ira="ALPACA_API_KEY=PK87654321\n"))
    config = load(tmp_path, KEYS + "PROFILES=ira\n", ira="ALPACA_API_KEY=AK87654321\nALPACA_API_SECRET=9876543210\nALPACA_PAPER=false\n")

    assert [account.broker for account in accounts_of(config)] == ["alpaca"]
    assert config.warnings[0].startswith(".env.ira: TRADING_MODE=paper, but ALPACA_PAPER=false: Alpaca is left out")


def test_one_key_under_two_names_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"alpaca and alpaca-ira have the same key.* into \.env\.ira, or take ira out of PROFILES"):
        accounts_of(load(tmp_path, KEYS + "PROFILES=ira\n", ira=KEYS))
    token = "OANDA_API_KEY=token-of-oanda\nOANDA_ACCOUNT_ID=101-1-1-00{}\n"  # OANDA's is of a person, the account is named beside it
    config = load(tmp_path, token.format(1) + "PROFILES=ira\n", ira=token.format(2))

    assert [account.broker for account in accounts_of(config)] == ["oanda", "oanda-ira"]


def test_a_twin_and_a_broker_do_not_mix_over_profiles_either(tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match=r"remove ira\.ALPACA_URL"):
        accounts_of(load(tmp_path, KEYS + "PROFILES=ira\n", ira=IRA_KEYS + "ALPACA_URL=http://127.0.0.1:8001\n"))


def test_paper_accounts_that_are_kept_here_have_a_file_each(tmp_path: Path) -> None:
    keys = "KRAKEN_API_KEY=key-{}-of-kraken\nKRAKEN_API_SECRET=c2VjcmV0\n"
    config = load(tmp_path, keys.format(1) + "PROFILES=ira\n", {"TRADING_HOME": str(tmp_path)}, ira=keys.format(2))

    assert [account.paper for account in accounts_of(config)] == [state_folder(config) / f"{name}-paper.json" for name in ("kraken", "kraken-ira")]


def test_a_profiles_file_is_guarded_as_the_other_is(tmp_path: Path) -> None:
    config = load(tmp_path, KEYS + "PROFILES=ira\n", ira=IRA_KEYS)
    assert config.unsafe_files() == ()
    (tmp_path / ".env.ira").chmod(0o644)

    assert config.unsafe_files() == ("others can read .env.ira: chmod 600 .env.ira",)


# -- the wrapper ----------------------------------------------------------------------------------------------------------------------

PROTOCOLS = [port for port in vars(ports).values() if isinstance(port, type) and Protocol in port.__bases__ and port is not ports.Clock]


@pytest.mark.parametrize("subject", WAYS, ids=lambda subject: subject.name)
def test_every_method_of_a_port_is_there_where_the_connector_has_it(tmp_path: Path, subject: Subject) -> None:
    async def main(clock: VirtualClock) -> None:
        inner = Bench(clock, tmp_path, subject=subject).connector()
        outer = profiled(inner, BrokerName(f"{subject.broker.partition('-')[0]}-play"))
        methods = {name for port in PROTOCOLS for name, value in vars(port).items() if inspect.isfunction(value) and not name.startswith("_")}

        assert {name for name in methods if hasattr(inner, name)} == {name for name in methods if hasattr(outer, name)}
        assert {name for name in ("submit", "events", "quote", "subscribe") if not hasattr(outer, name)} == set()
        for port in (port for port in PROTOCOLS if getattr(port, "_is_runtime_protocol", False)):
            assert isinstance(outer, port) is isinstance(inner, port), port
        await inner.aclose()

    run_virtual(main)


def test_everything_of_the_domain_that_names_a_broker_is_renamed() -> None:
    modules = [import_module(f"{domain.__name__}.{found.name}") for found in pkgutil.iter_modules(domain.__path__)]
    structs = {item for module in modules for item in vars(module).values() if isinstance(item, type) and issubclass(item, msgspec.Struct)}
    strategies = {Signal, Allocation}  # go no further than the desk
    naming = {item for item in structs if "broker" in item.__struct_fields__} - strategies - {ports.Facts}
    named = re.compile(rf"\b({'|'.join(item.__name__ for item in naming)})\b")
    holding = {item for item in structs - naming if any(named.search(str(hint)) for hint in item.__annotations__.values())}

    assert naming == set(CARRIERS)
    assert holding == {Approved, AccountEvent}


def test_a_name_is_changed_as_deep_as_it_stands_and_back() -> None:
    child = report(ExecType.NEW, OrdStatus.NEW, cl_ord_id=ClOrdID("child"))
    parent = replace(report(ExecType.NEW, OrdStatus.NEW), children=(child,))
    out = renamed((parent, AccountEvent(report=parent), approved()), IRA, MAIN)

    assert [out[0].broker, out[0].children[0].broker, out[1].report.children[0].broker, out[2].request.broker] == [IRA] * 4
    assert renamed(out, MAIN, IRA) == (parent, AccountEvent(report=parent), approved())
    assert list(renamed(iter([parent]), IRA, MAIN)) == [out[0]]
    assert (renamed("AAPL", IRA, MAIN), renamed(None, IRA, MAIN)) == ("AAPL", None)


class _Told:
    """A connector that writes down what it is told, and answers with it."""

    def __init__(self) -> None:
        self.facts = ALPACA.facts
        self.heard: list[Any] = []
        self.closed = False

    async def cancel(self, order: Any) -> Any:
        self.heard.append(order)
        raise AuthFailed("not with this key")

    def recall(self, orders: Any) -> None:
        self.heard += orders

    def look_with(self, look: Any) -> None:
        look(approved())

    async def events(self) -> AsyncIterator[ExecutionReport]:
        try:
            while True:
                yield report(ExecType.NEW, OrdStatus.NEW)
        finally:
            self.closed = True


def test_requests_go_in_under_the_brokers_name_and_words_come_out_under_the_profiles() -> None:
    async def main(_: VirtualClock) -> None:
        inner = _Told()
        outer: Any = profiled(inner, IRA)  # type: ignore[arg-type]
        looked: list[Approved] = []
        outer.recall(item for item in (replace(report(ExecType.NEW, OrdStatus.NEW), broker=IRA),))
        outer.look_with(looked.append)
        with pytest.raises(AuthFailed, match="not with this key"):
            await outer.cancel(replace(report(ExecType.NEW, OrdStatus.NEW), broker=IRA))
        stream = outer.events()
        first = await anext(stream)
        await stream.aclose()

        assert [item.broker for item in inner.heard] == [MAIN, MAIN]
        assert (looked[0].request.broker, first.broker, inner.closed) == (IRA, IRA, True)
        assert (isinstance(outer, RecallsChanges), isinstance(outer, WaitsItsTurn), isinstance(outer, CancelsAll)) == (True, True, False)

    run_virtual(main)


def test_a_paper_account_that_is_simulated_here_is_the_profiles(tmp_path: Path) -> None:
    async def story(bench: Bench) -> None:
        name = BrokerName("kraken-ira")
        inner = profiled(bench.connector(), name)
        paper = PaperBroker(inner, path=tmp_path / "kraken-ira-paper.json", clock=bench.clock, rng=random.Random(1))
        await paper.connect()
        snapshot = await paper.account()
        (eth,) = await paper.instruments((InstrumentID("ETH/USD"),))

        assert (snapshot.broker, snapshot.account, eth.broker) == (name, "PAPER-KRAKEN-IRA", name)
        assert isinstance(paper, DepthData)
        assert paper.facts.title == "Kraken (ira) (paper, simulated here)"
        await paper.aclose()
        await inner.aclose()

    on_bench(tmp_path, story, subject=KRAKEN)


# -- two accounts at work -------------------------------------------------------------------------------------------------------------


async def bought(desk: Desk, broker: BrokerName, qty: str, intent: str, **changes: Any) -> Order:
    await desk.instrument(broker, AAPL)
    await desk.hub.fetch(broker, AAPL)
    return await settled(desk, await desk.submit(wish(f"{intent}-{broker}", qty, broker=broker, **changes)))


async def priced(desk: Desk, broker: BrokerName, times: str) -> Decimal:
    """The price of AAPL, times so much."""
    await desk.instrument(broker, AAPL)
    quote = await desk.hub.fetch(broker, AAPL)
    assert quote.mid is not None
    return (quote.mid * D(times)).quantize(D("0.01"))


def test_two_accounts_of_one_broker_trade_side_by_side_over_a_restart(tmp_path: Path) -> None:
    """Their twins come of one seed: order ids, executions and account numbers are the same at both."""

    async def main(clock: VirtualClock) -> None:
        async with desk_on(clock, tmp_path, BOTH, Limits()) as (desk, network):
            main_, ira = await bought(desk, MAIN, "10", "a"), await bought(desk, IRA, "4", "a")
            resting = await desk.submit(wish("rests", "1", broker=IRA, price=await priced(desk, IRA, "0.98")))

            assert [order.broker for order in (main_, ira, resting)] == [MAIN, IRA, IRA]
            assert main_.fills[0].exec_id == ira.fills[0].exec_id
            assert (main_.order_id, main_.cl_ord_id != ira.cl_ord_id) == (ira.order_id, True)
            assert [desk.books.ledger.position(name, AAPL) for name in (MAIN, IRA)] == [10, 4]
            assert desk.brokers[IRA].facts.title == "Alpaca (ira)"
        async with desk_on(clock, tmp_path, BOTH, Limits(), twins=dict(network.hosts)) as (desk, _):
            assert [desk.books.ledger.position(name, AAPL) for name in (MAIN, IRA)] == [10, 4]
            assert [order.cl_ord_id for order in desk.books.blotter.working()] == [resting.cl_ord_id]
            await desk.cancel(resting.cl_ord_id)
            assert (await settled(desk, resting)).ord_status is OrdStatus.CANCELED
            left = await desk.flatten()

            assert (left.positions, left.orders, left.problems, desk.books.halts) == ((), (), (), {})

    run_virtual(main)


@pytest.mark.parametrize(
    ("limits", "rule"),
    [
        (Limits(max_position_pct=D("0.1"), max_leverage=D(9)), "MAX_POSITION_PCT"),
        (Limits(max_position_pct=D(1), max_leverage=D("0.1")), "MAX_LEVERAGE"),
    ],
)
def test_a_limit_holds_over_both_accounts_together(tmp_path: Path, limits: Limits, rule: str) -> None:
    """Each account alone would have room for it."""

    async def story(desk: Desk, twins: dict[str, object]) -> None:
        much = str(int(D(200_000) * D("0.07") / await priced(desk, MAIN, "1")))
        assert (await bought(desk, MAIN, much, "a")).ord_status is OrdStatus.FILLED
        with pytest.raises(RiskRefused, match=rule):
            await bought(desk, IRA, much, "b")
        assert (await bought(desk, IRA, "1", "c")).ord_status is OrdStatus.FILLED
        await desk.submit(wish("close", much, Side.SELL, reduce_only=True))

    told(tmp_path, story, BOTH, limits)


def test_an_order_does_not_meet_one_of_the_other_account(tmp_path: Path) -> None:
    async def story(desk: Desk, twins: dict[str, object]) -> None:
        await bought(desk, IRA, "5", "a")
        offered = await desk.submit(wish("b", "5", Side.SELL, broker=IRA, price=await priced(desk, IRA, "1.01")))
        with pytest.raises(RiskRefused, match=f"SELF_MATCH.*{offered.cl_ord_id}"):
            await desk.submit(wish("c", "5", price=await priced(desk, MAIN, "1.02")))

    told(tmp_path, story, BOTH)


def test_a_halt_of_one_account_leaves_the_other_alone(tmp_path: Path) -> None:
    async def story(desk: Desk, twins: dict[str, object]) -> None:
        await desk.halt(IRA, Level.HALT, "the owner says so")
        assert (await bought(desk, MAIN, "1", "a")).ord_status is OrdStatus.FILLED
        with pytest.raises(Halted, match="alpaca-ira is halted"):
            await bought(desk, IRA, "1", "a")

    told(tmp_path, story, BOTH)


def test_another_programs_name_for_orders_at_both_accounts_stays_two_orders(tmp_path: Path) -> None:
    """One that copies trades from account to account gives both the same client id, and brokers of one seed the same order id."""

    async def story(desk: Desk, twins: dict[str, object]) -> None:
        for name in (MAIN, IRA):
            copied = replace(approved(), cl_ord_id=ClOrdID("copied"))
            price = await priced(desk, name, "0.9")
            request = wish("x", "2", broker=name, price=price)
            await desk.brokers[name].submit(replace(copied, request=request))
        assert await desk.wait(lambda: len(desk.books.blotter.working()) == 2, 60 * SECOND_NS)
        orders = desk.books.blotter.working()

        assert sorted(order.cl_ord_id for order in orders) == ["copied", f"external:{orders[0].order_id}"]
        assert ({order.broker for order in orders}, all(order.external for order in orders)) == ({MAIN, IRA}, True)
        assert (await desk.flatten()).orders == ()
        assert desk.books.halts == {}

    told(tmp_path, story, BOTH)


def test_a_flow_of_one_account_is_not_the_others_though_it_has_its_name(tmp_path: Path) -> None:
    """OANDA counts what happens on an account from 1."""
    both = (OANDA, replace(OANDA, name="oanda-ira", broker=BrokerName("oanda-ira")))

    async def story(desk: Desk, twins: dict[str, Any]) -> None:
        for subject in both:
            twins[subject.name].transfer(D(1_000))
        cash = desk.books.ledger.cash
        assert await desk.wait(lambda: all(cash(subject.broker, "USD") == 101_000 for subject in both), 600 * SECOND_NS)
        ids = [{flow_id for name, flow_id in desk.books.flows if name == subject.broker} for subject in both]

        assert ids[0] == ids[1] != set()
        assert desk.books.halts == {}

    told(tmp_path, story, both)


def as_real(twin: Mapping[str, str], name: BrokerName, number: int) -> Account:
    """A served twin's account that the desk takes for a broker's, with a key that is not like the others."""
    account = twin_account("alpaca", twin)
    return replace(account, broker=name, twin=False, credentials={**account.credentials, "more": Secret(f"another-key-{number}")})


async def test_one_account_under_two_names_is_refused_at_the_start_and_in_its_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    config = load_config({"TRADING_HOME": str(tmp_path)}, env_file=Path(os.devnull))
    async with served_twin("alpaca", seed=3, rate=10_000) as twin:
        both = (as_real(twin, MAIN, 1), as_real(twin, IRA, 2))
        with pytest.raises(
            BadRequest, match=r"alpaca and alpaca-ira are both account PA\w+, and an account has one name: .* take ira out of PROFILES"
        ):
            async with open_desk(config, both, folder=tmp_path / "a", listen=False):
                pass
        with pytest.raises(LeaseHeld, match="the paper key of alpaca-ira is in use"):
            async with open_desk(config, (both[0], as_real(twin, IRA, 1)), folder=tmp_path / "b", listen=False):
                pass
        async with open_desk(config, both[:1], folder=tmp_path / "c", listen=False) as desk:
            await desk.wait(lambda: all(desk.ready.values()), 20 * SECOND_NS)
            await bought(desk, MAIN, "1", "a")
        with pytest.raises(BadRequest, match="is alpaca in this journal, not alpaca-ira: give it that name again"):
            async with open_desk(config, both[1:], folder=tmp_path / "c", listen=False):
                pass


async def test_the_settings_open_both_accounts_of_a_broker_that_counts_its_requests(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kraken's numbers rise by key, whatever the account is called."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    async with served_twin("kraken", seed=3, rate=1000) as one, served_twin("kraken", seed=4, rate=1000) as other:
        texts = [f"KRAKEN_URL={twin['rest']}\nKRAKEN_API_KEY={twin['key']}\nKRAKEN_API_SECRET={twin['secret']}\n" for twin in (one, other)]
        config = load(tmp_path, texts[0] + "PROFILES=ira\nMAX_POSITION_PCT=1\n", {"TRADING_HOME": str(tmp_path)}, ira=texts[1])
        kraken = BrokerName("kraken-ira")
        async with open_desk(config, listen=False) as desk:
            await desk.wait(lambda: all(desk.ready.values()), 20 * SECOND_NS)
            order = await settled(desk, await desk.submit(wish("a", "0.5", broker=kraken, instrument=InstrumentID("ETH/USD"))))

            assert (order.broker, order.ord_status) == ("kraken-ira", OrdStatus.FILLED)
            assert [account.broker for account in desk.accounts.values()] == ["kraken", "kraken-ira"]
            assert desk.books.ledger.position(BrokerName("kraken"), InstrumentID("ETH/USD")) == 0
        held = await call(config, "halt", {"scope": "kraken-ira"})  # no desk runs: into the journal alone
        nonces = sorted(path.name for path in (tmp_path / "state").rglob("nonces/*"))

        assert held["scope"] == "kraken-ira"  # type: ignore[index]
        assert len({name for name in nonces if name.startswith("kraken-") and "ira" not in name}) >= 2
        with pytest.raises(BadRequest, match=r"no scope; there are: all, crypto, alpaca, .*kraken-ira"):
            await call(config, "halt", {"scope": "kraken-play"})
