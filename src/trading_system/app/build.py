"""The composition root: the only place where concrete things are chosen, and the only one that reaches a twin."""

import asyncio
import importlib
import os
import random
import secrets
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import date
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar
from urllib.parse import urlsplit

import msgspec

from trading_system import __version__
from trading_system.app.config import Config
from trading_system.app.desk import Desk, Step, no_step
from trading_system.app.hub import Hub
from trading_system.app.logs import log_record
from trading_system.app.profile import profiled
from trading_system.app.records import JOURNAL_VERBS, Args
from trading_system.app.recover import Recovery
from trading_system.app.socket import Client, RemoteError, Server
from trading_system.app.switch import Switch, pull, pulled
from trading_system.app.verbs import ORDERS, PRICES, READY_WITHIN_NS, VERBS
from trading_system.app.views import halt_view
from trading_system.brokers import registry
from trading_system.core.risk import Halt, Level, Limits
from trading_system.domain.account import AccountSnapshot
from trading_system.domain.errors import AuthFailed, BadRequest, DeskError, InDoubt, JournalError, LeaseHeld, ProtocolError, RateLimited, Unavailable
from trading_system.domain.ids import BrokerName
from trading_system.domain.ports import Connector, Link, NewsData, StreamState
from trading_system.domain.times import parse_rfc3339
from trading_system.journal.lease import Lease
from trading_system.journal.replay import replay
from trading_system.journal.store import Journal
from trading_system.settings.keys import CREDENTIALS, credentials_of, parts_of, secret_name
from trading_system.settings.secret import Secret
from trading_system.sizing.sizer import Aims
from trading_system.transport.nonces import Nonces

if TYPE_CHECKING:
    from trading_system.app.watcher import Seen
    from trading_system.domain.news import NewsItem
    from trading_system.sim.market import Listing, Recording
    from trading_system.transport.tape import Tape
    from trading_system.transport.websocket import Dialer

SECOND_NS = 1_000_000_000
_T = TypeVar("_T")
BUDGET_WAIT_MAX_NS = 60_000_000_000  # how long a command waits for a broker's budget


class Account(msgspec.Struct, frozen=True, kw_only=True):
    """One broker as this run will use it."""

    broker: BrokerName
    environment: str  # paper or live
    credentials: Mapping[str, Secret]
    options: Mapping[str, str]
    twin: bool = False  # the broker is a twin on loopback
    paper: Path | None = None  # the venue has no paper account: fills are simulated on its live prices, and the account is kept here

    @property
    def folder(self) -> str:
        """Whose connector it has: of all profiles the same."""
        return parts_of(self.broker)[0]

    @property
    def profile(self) -> str:
        return parts_of(self.broker)[1]


def limits_of(config: Config) -> Limits:
    """The settings of the same names, in the gate's units."""
    return Limits(
        max_position_pct=config.max_position_pct,
        max_leverage=config.max_leverage,
        max_daily_loss_pct=config.max_daily_loss_pct,
        max_drawdown_pct=config.max_drawdown_pct,
        max_concurrent_positions=config.max_concurrent_positions,
        enable_crypto=config.enable_crypto,
        crypto_symbols=frozenset(symbol.partition("/")[0] for symbol in config.crypto_symbols),
        crypto_max_position_pct=config.crypto_max_position_pct,
        crypto_max_daily_loss_pct=config.crypto_max_daily_loss_pct,
        crypto_max_drawdown_pct=config.crypto_max_drawdown_pct,
        crypto_max_leverage=config.crypto_max_leverage,
        enable_circuit_breakers=config.enable_circuit_breakers,
        halt_on_daily_loss=config.halt_on_daily_loss,
        halt_on_drawdown=config.halt_on_drawdown,
        validate_orders=config.validate_orders,
        enable_shorts=config.enable_shorts,
        enable_uncovered_options=config.enable_uncovered_options,
        option_max_premium_pct=config.option_max_premium_pct,
        option_price_collar_pct=config.option_price_collar_pct,
        max_spread_pct=config.max_spread_pct,
        crypto_max_spread_pct=config.crypto_max_spread_pct,
        price_collar_pct=config.price_collar_pct,
        crypto_price_collar_pct=config.crypto_price_collar_pct,
        max_orders_per_second=config.max_orders_per_second,
        max_orders_per_minute=config.max_orders_per_minute,
        max_open_orders=config.max_open_orders,
        max_open_orders_per_instrument=config.max_open_orders_per_instrument,
        duplicate_order_window_ns=config.duplicate_order_window_s * SECOND_NS,
        quote_max_age_ns=config.quote_max_age_s * SECOND_NS,
        crypto_quote_max_age_ns=config.crypto_quote_max_age_s * SECOND_NS,
        account_max_age_ns=config.account_max_age_s * SECOND_NS,
    )


def aims_of(config: Config) -> Aims:
    """What the owner set out for."""
    return Aims(
        capital=config.starting_capital,
        target=config.target_wealth,
        days=config.time_horizon_days,
        kelly_fraction=config.kelly_fraction,
        min_convexity=config.min_convexity_score,
    )


def accounts_of(config: Config, only: str | None = None) -> tuple[Account, ...]:
    """The brokers (or the one) that have keys and whose own flag agrees with TRADING_MODE.

    Raises: AuthFailed: none, or half a pair of keys. BadRequest: some are twins and some are not.
    """
    names = config.brokers if only is None else (BrokerName(only),)
    for name in names:
        fields = credentials_of(name).values()
        missing = [field for field in fields if field not in config.secrets]
        if missing and len(missing) < len(fields):
            raise AuthFailed(f"{' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing.", _advice(config, name))
    found = tuple(
        Account(
            broker=name,
            environment=kind,
            credentials=credentials,
            options=config.options[name],
            twin="url" in config.options[name],
            paper=_paper(config, name, kind),
        )
        for name in names
        if (credentials := config.credentials(name)) and (kind := config.kind(name))
    )
    if not found:
        raise AuthFailed("no broker is configured.", _advice(config, names[0]))
    if len({account.twin for account in found}) > 1:
        twins = " and ".join(secret_name(account.profile, f"{account.folder.upper()}_URL") for account in found if account.twin)
        raise BadRequest(f"one desk trades with twins or with brokers, not with both: remove {twins}, or the keys of the others")
    known: dict[tuple[str, str, str], Account] = {}
    for account in found:
        same = known.setdefault((account.folder, account.options.get("url", ""), _fingerprints(account)), account)
        if same is not account:
            _one_account(same.broker, account.broker, "have the same key")
    return found


def _one_account(name: str, other: str, what: str) -> NoReturn:
    """Two names of one account: it would be counted twice, and each would take the other's orders for a stranger's. Raises BadRequest."""
    _, profile = parts_of(other)
    advice = f"put another account's key into .env.{profile}, or take {profile} out of PROFILES"
    raise BadRequest(f"{name} and {other} {what}, and an account has one name: {advice}")


def _paper(config: Config, broker: BrokerName, kind: str) -> Path | None:
    real = kind == "live" or "url" in config.options[broker] or registry.facts(broker).has_paper
    return None if real else state_folder(config) / f"{broker}-paper.json"


def _advice(config: Config, broker: str) -> str:
    page, (folder, profile) = registry.facts(broker).pages["keys_paper"], parts_of(broker)
    keys, file = " and ".join(CREDENTIALS[folder].values()), f".env.{profile}" if profile else ".env"
    return " ".join((f"Set {keys} in {file} (keys: {page}), or try without keys: `trading demo`.", *config.warnings))


def state_folder(config: Config) -> Path:
    """$TRADING_HOME, else the platform's folder; paper, live and twin apart. Known without keys: a halt needs none."""
    return home(config) / ("twin" if any("url" in options for options in config.options.values()) else config.trading_mode)


def home(config: Config) -> Path:
    return Path(config.trading_home).expanduser() if config.trading_home else machine_folder()


def machine_folder() -> Path:
    """The platform's folder for what this user's programs remember; the same whatever TRADING_HOME says."""
    from platformdirs import user_state_path

    return user_state_path("trading_system")


def run(main: Coroutine[Any, Any, _T]) -> _T:
    """Run on uvloop where there is one, else on asyncio's own loop. SIGTERM ends it as Ctrl-C does, with exit code 143."""
    factory: Callable[[], asyncio.AbstractEventLoop] | None
    try:
        import uvloop

        factory = uvloop.new_event_loop
    except ModuleNotFoundError:
        factory = None
    with asyncio.Runner(loop_factory=factory) as runner:
        try:
            return runner.run(_terminable(main))
        except asyncio.CancelledError:
            sys.exit(128 + signal.SIGTERM)


async def _terminable(main: Coroutine[Any, Any, _T]) -> _T:
    """The first SIGTERM cancels, so that everything is given back; a second one ends the process as it is."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None

    def terminate() -> None:
        loop.remove_signal_handler(signal.SIGTERM)
        task.cancel()

    loop.add_signal_handler(signal.SIGTERM, terminate)
    return await main


@asynccontextmanager
async def open_desk(
    config: Config,
    accounts: tuple[Account, ...] | None = None,
    *,
    folder: Path | None = None,
    listen: bool = True,
    dry_run: bool = False,
    reconciled: bool = True,
    step: Step = no_step,
) -> AsyncIterator[Desk]:
    """A desk with its leases, journal, brokers and socket, reconciled. Everything is given back when the block ends. reconciled: False for one that
    only asks for prices: it logs in, and never becomes ready.

    Raises: LeaseHeld: another desk is at work. AuthFailed, Unavailable, JournalError: no desk, nothing was sent.
    """
    from trading_system.transport.clock import SystemClock

    accounts = accounts or accounts_of(config)
    folder = folder or state_folder(config)
    leases = machine_folder() / "leases"  # not in TRADING_HOME: two homes with one key are still two desks on one account
    async with AsyncExitStack() as stack:
        stack.enter_context(Lease(folder / "desk.lock", f"the state folder {folder.name}"))
        for account in accounts:
            if account.twin:
                continue  # two twins may well have the same key and account number
            what = f"the {account.environment} key of {account.broker}"
            stack.enter_context(Lease(leases / f"{account.folder}-{account.environment}-{_fingerprints(account)}.lock", what))
        step("leases taken")
        journal = Journal(folder / "journal.sqlite", step=step)
        stack.push_async_callback(journal.aclose)
        books = replay(entry.record for entry in journal.read())
        tape = _tape(config)
        if tape is not None:
            stack.callback(tape.close)
        brokers = {account.broker: _connector(account, tape) for account in accounts}
        for broker in brokers.values():
            stack.push_async_callback(broker.aclose)
        hub = Hub(brokers)
        stack.push_async_callback(hub.aclose)
        _safe_settings(config, accounts)
        with suppress(BadRequest):  # `trading doctor` and `trading check` tell of it; a desk must start without
            credential_ages(config)
        desk = Desk(
            books=books,
            journal=journal,
            brokers=brokers,
            hub=hub,
            limits=limits_of(config),
            aims=aims_of(config),
            clock=SystemClock(),
            environment=accounts[0].environment,
            names=config.brokers,
            base_currency=config.base_currency,
            dry_run=dry_run or config.dry_run,
            flatten_unprotected=config.on_unprotected == "flatten",
            failover=frozenset(config.failover_opening),
            step=step,
        )
        desk.step("replayed")
        switch = Switch(desk, folder)
        stack.push_async_callback(switch.aclose)
        desk.listeners.append(log_record)

        owners: dict[str, BrokerName] = {}

        def account_lease(snapshot: AccountSnapshot) -> None:
            _same_account(desk, snapshot)
            _same_currency(config, snapshot)
            folder, _ = parts_of(snapshot.broker)
            name = f"{folder}-{snapshot.environment}-{snapshot.account}.lock"
            if not any(account.twin for account in accounts):
                owner = owners.setdefault(name, snapshot.broker)
                if owner != snapshot.broker:
                    _one_account(owner, snapshot.broker, f"are both account {snapshot.account}")
                _same_name(desk, snapshot)
                stack.enter_context(Lease(leases / name, f"the account {snapshot.account} at {snapshot.broker}"))

        wanted = frozenset(account.broker for account in accounts if account.options.get("dead_man") == "true")
        recovery = Recovery(desk, version=__version__, config_hash=config.config_hash, account_lease=account_lease, dead_man=wanted, feeds=listen)
        stack.push_async_callback(recovery.aclose)
        stack.push_async_callback(desk.drain)
        switch.start(signals=listen)
        if reconciled:
            await recovery.start()
        else:
            for broker in brokers.values():
                await broker.connect()
        if listen:
            server = Server(desk, folder / "desk.sock")
            stack.push_async_callback(server.aclose)
            await server.start()
        desk.step("socket up")
        stack.callback(desk.step, "shutdown begun")
        async with _ends_with(journal):
            yield desk


@asynccontextmanager
async def _ends_with(journal: Journal) -> AsyncIterator[None]:
    """Once the disk has refused, nothing is remembered any more: the block ends there, and what called it. Raises JournalError."""
    task, told = asyncio.current_task(), list[str]()
    assert task is not None

    def end(text: str) -> None:
        told.append(text)
        task.cancel()

    journal.on_failure = end
    try:
        yield
    except asyncio.CancelledError:
        if told and task.uncancel() == 0:
            raise JournalError(told[0]) from None
        raise
    finally:
        journal.on_failure = told.append


def _safe_settings(config: Config, accounts: tuple[Account, ...]) -> None:
    """A file with live keys that others can read or git would take along stops a live desk. Paper is told of it by `trading doctor`."""
    if any(account.environment == "live" for account in accounts):
        findings = config.unsafe_files()
        if findings:
            raise AuthFailed(f"live keys are not safe where they are: {'; '.join(findings)}.")


def _same_account(desk: Desk, snapshot: AccountSnapshot) -> None:
    """A journal belongs to its accounts. Raises BadRequest: this one has another account's orders."""
    others = {order.account for order in desk.books.blotter if order.broker == snapshot.broker and order.account} - {snapshot.account}
    if others:
        raise BadRequest(
            f"this journal holds orders of account {', '.join(sorted(others))}, the key is of {snapshot.account}: set another TRADING_HOME"
        )


def _same_name(desk: Desk, snapshot: AccountSnapshot) -> None:
    """An account keeps its name for as long as its journal. Raises BadRequest: it traded under another one."""
    folder, _ = parts_of(snapshot.broker)
    names = {order.broker for order in desk.books.blotter if order.account == snapshot.account and parts_of(order.broker)[0] == folder}
    if others := names - {snapshot.broker}:
        before = f"account {snapshot.account} is {', '.join(sorted(others))} in this journal, not {snapshot.broker}"
        raise BadRequest(f"{before}: give it that name again, or set another TRADING_HOME")


def _same_currency(config: Config, snapshot: AccountSnapshot) -> None:
    """Limits are measured in one currency. Raises BadRequest: the account is kept in another."""
    if snapshot.currency != config.base_currency:
        account = f"account {snapshot.account} at {snapshot.broker} is kept in {snapshot.currency}"
        raise BadRequest(f"BASE_CURRENCY={config.base_currency}, but {account}: set BASE_CURRENCY={snapshot.currency}")


def credential_ages(config: Config) -> Mapping[str, int]:
    """Days since each configured credential was first seen here; new ones are noted. Raises BadRequest: the file cannot be read or written."""
    from trading_system.settings.credentials import ages
    from trading_system.transport.clock import SystemClock

    path = home(config) / "credentials.json"
    try:
        return ages(path, dict(config.secrets), SystemClock().now_ns())
    except (OSError, ValueError) as error:
        raise BadRequest(f"how old the keys are is not known: {path} cannot be used ({error}); delete it, ages then start anew") from None


def _tape(config: Config) -> "Tape | None":
    """Raises BadRequest: the file cannot be written."""
    from trading_system.app.logs import redact
    from trading_system.transport.tape import Tape

    if not config.trading_tape:
        return None
    try:
        return Tape(Path(config.trading_tape).expanduser(), redact)
    except OSError as error:
        raise BadRequest(f"TRADING_TAPE={config.trading_tape} cannot be written: {error.strerror}") from None


def _dialer(account: Account, tape: "Tape | None") -> "Dialer":
    from trading_system.transport.events import EventsDialer, SchemeDialer
    from trading_system.transport.tape import TapedDialer
    from trading_system.transport.tcp import TcpDialer
    from trading_system.transport.websocket import PicowsDialer

    dialer = SchemeDialer(PicowsDialer(), EventsDialer(_hosts(account)), TcpDialer())
    return dialer if tape is None else TapedDialer(dialer, tape)


def _connector(account: Account, tape: "Tape | None") -> Connector:
    from trading_system.sim.paper import PaperBroker
    from trading_system.transport.clock import SystemClock
    from trading_system.transport.http import AiohttpHttp, Http
    from trading_system.transport.tape import TapedHttp

    http: Http = AiohttpHttp(_hosts(account))
    if tape is not None:
        http = TapedHttp(http, tape)
    clock = SystemClock()
    nonces = {"nonces": _nonces(account, clock.now_ns)} if registry.facts(account.broker).needs_nonces else {}
    connector: Connector = registry.folder(account.broker).connect(
        http=http,
        dialer=_dialer(account, tape),
        clock=clock,
        rng=random.Random(secrets.randbits(64)),  # noqa: S311  jitter, not cryptography
        credentials=account.credentials,
        environment=account.environment,
        options=account.options,
        **nonces,
    )
    if account.profile:
        connector = profiled(connector, account.broker)
    if account.paper is None:
        return connector
    return PaperBroker(connector, path=account.paper, clock=clock, rng=random.Random(secrets.randbits(64)))  # noqa: S311  a simulation's chance


def _nonces(account: Account, now_ns: Callable[[], int]) -> Nonces:
    """One rising number per key, whatever TRADING_HOME says: two homes may use one key by turns. Raises BadRequest: the file cannot be used."""
    path = machine_folder() / "nonces" / f"{account.folder}-{_fingerprints(account)}"
    try:
        return Nonces(path, now_ns)
    except (OSError, ValueError) as error:
        text = f"the number that {account.broker} wants to rise is kept in {path}, which cannot be used ({error}): mend or delete it"
        raise BadRequest(text) from None


def _fingerprints(account: Account) -> str:
    return "-".join(secret.fingerprint() for secret in account.credentials.values())


def _hosts(account: Account) -> frozenset[str]:
    """Where bytes may go: the broker's own hosts, or the twin's port."""
    if "url" in account.options:
        return frozenset({urlsplit(account.options["url"]).netloc})
    folder = registry.folder(account.broker)
    hosts: frozenset[str] = (folder.broker_hosts if _is_firm(account) else folder.hosts)(account.environment)
    return hosts


def _is_firm(account: Account) -> bool:
    """Whether this is a Broker API firm rather than one account."""
    return "client_id" in account.credentials


# -- watching without a desk -------------------------------------------------------------------------------------------------------


_OAUTH: Mapping[str, str] = {"client_id": "ALPACA_OAUTH_CLIENT_ID", "client_secret": "ALPACA_OAUTH_CLIENT_SECRET"}


def watched(config: Config, *, sse: bool = False, broker_api: bool = False, activities: bool = False, since: str = "") -> Account:
    """The account or firm whose events are to be read; activities are a firm's. Raises AuthFailed: its credentials are not all there. BadRequest:
    since is no time."""
    if not (broker_api or activities):
        (account,) = accounts_of(config, "alpaca")
        return _reading(account, sse=sse or bool(since) or account.options["order_events"] == "sse", since=since)
    missing = [name for name in _OAUTH.values() if name not in config.secrets]
    kind, options = config.kind("alpaca"), config.options["alpaca"]
    if missing or kind is None:
        page = registry.facts("alpaca").pages["keys_broker"]
        what = f"{' and '.join(missing)} missing" if missing else "TRADING_MODE and ALPACA_PAPER do not agree"
        raise AuthFailed(f"{what}.", f"The Broker API is for firms that have customers of their own; its credentials: {page}")
    firm = Account(
        broker=BrokerName("alpaca"),
        environment=kind,
        credentials={field: config.secrets[name] for field, name in _OAUTH.items()},
        options={"url": options["url"]} if "url" in options else {},
        twin="url" in options,
    )
    return _reading(firm, sse=True, activities=activities, since=since)


def watched_twin(twin: Mapping[str, str], *, sse: bool, broker_api: bool, activities: bool = False, since: str = "") -> Account:
    """The same, of a served twin."""
    account = twin_account("alpaca", twin)
    if broker_api or activities:
        firm = {field: Secret(twin[field]) for field in _OAUTH}
        account = msgspec.structs.replace(account, credentials=firm)
    return _reading(account, sse=sse or broker_api or activities, activities=activities, since=since)


def desk_beside(twin: Mapping[str, str], watched: Account) -> Account:
    """The account of a desk on the same twin, which lets in one WebSocket of orders: the desk takes what the watcher leaves."""
    account = twin_account("alpaca", twin)
    other = "websocket" if watched.options["order_events"] == "sse" else "sse"
    return msgspec.structs.replace(account, options={**account.options, "order_events": other})


def _reading(account: Account, *, sse: bool, since: str, activities: bool = False) -> Account:
    try:
        _ = since and (date.fromisoformat(since) if len(since) <= len("2026-11-24") else parse_rfc3339(since))
    except ValueError:
        raise BadRequest(f"--since {since}: a day (2026-11-24) or a time with its offset (2026-11-24T14:30:00Z)") from None
    how = {"order_events": "sse" if sse else "websocket", "topic": "activities" if activities else "orders", "since": since}
    return msgspec.structs.replace(account, options={**account.options, **how})


async def follow_news(config: Config, symbols: tuple[str, ...]) -> "AsyncIterator[NewsItem | StreamState]":
    """Articles as they appear, without a desk. Raises AuthFailed, BadRequest: a broker that passes none on."""
    connectors = [_connector(account, None) for account in accounts_of(config)]
    connector = next((item for item in connectors if isinstance(item, NewsData)), None)
    if connector is None:
        raise BadRequest("none of the configured brokers passes news on")
    try:
        async for event in connector.follow_news(symbols):
            yield event
            if isinstance(event, StreamState) and event.link is Link.REFUSED:
                raise AuthFailed(event.text)
    finally:
        await connector.aclose()


@asynccontextmanager
async def broker_events(config: Config, account: Account) -> "AsyncIterator[AsyncIterator[Seen]]":
    """What happens to orders or on accounts at a broker, for a watcher: it takes no lease and changes nothing.

    Raises: AuthFailed, while it is read: the broker will not have us.
    """
    from trading_system.app.watcher import follow
    from trading_system.transport.clock import SystemClock
    from trading_system.transport.http import AiohttpHttp

    async with AsyncExitStack() as stack:
        tape = _tape(config)
        if tape is not None:
            stack.callback(tape.close)
        if account.options["order_events"] == "websocket":
            connector = _connector(account, tape)
            stack.push_async_callback(connector.aclose)
            await connector.connect()
            events: Callable[[], AsyncIterator[object]] = connector.events
        else:
            http = AiohttpHttp(_hosts(account))  # no tape: what comes back is a token
            stack.push_async_callback(http.aclose)
            reader = registry.folder(account.broker).watch(
                http=http,
                dialer=_dialer(account, tape),
                clock=SystemClock(),
                rng=random.Random(secrets.randbits(64)),  # noqa: S311  jitter, not cryptography
                credentials=account.credentials,
                environment=account.environment,
                options=account.options,
            )
            events = reader.events
        yield follow(account.broker, account.options["topic"], events, SystemClock())


def _there(path: Path) -> bool:
    """Whether something is there that we may look at; Path.exists() raises where we may not."""
    return os.path.exists(path)


def _unheard(_: str) -> None:
    return None


async def call(config: Config, verb: str, args: Args, *, dry_run: bool = False, say: Callable[[str], None] = _unheard) -> object:
    """Run one verb: by the desk that is at work, else by one opened for this call, which waits once where a broker's budget is spent; an order does
    not, its market would be another by then. say: hears of the wait. Raises what the verb raises."""
    folder = state_folder(config)
    if not _there(folder):
        accounts_of(config)  # no keys and no desk that ever was: nothing to do anything to
    ask = partial(_by_whoever_holds_it, config, folder, verb, args, dry_run=dry_run, say=say)
    try:
        return await (ask() if verb in ORDERS - {"cancel", "flatten"} else _within_budget(ask, say))
    except (InDoubt, JournalError, LeaseHeld, RemoteError, Unavailable) as error:
        if verb != "halt" or error.exit_code == BadRequest.exit_code or isinstance(error, _StillWorking):
            raise
        return halt_view(_halt_by_file(folder, args, error))


async def _within_budget(ask: Callable[[], Awaitable[_T]], say: Callable[[str], None]) -> _T:
    """Nothing was done when a budget was spent, so it can be asked for again. Raises what it raises then, and RateLimited: too long to wait for."""
    from trading_system.transport.clock import SystemClock

    try:
        return await ask()
    except RateLimited as error:
        if error.retry_after_ns > BUDGET_WAIT_MAX_NS:
            raise
        say(f"{error} … waiting {-(-error.retry_after_ns // 1_000_000_000)} s.")
        await SystemClock().sleep_ns(error.retry_after_ns)
    return await ask()


async def _by_whoever_holds_it(config: Config, folder: Path, verb: str, args: Args, *, dry_run: bool, say: Callable[[str], None]) -> object:
    try:
        if verb in _OFFLINE and not args.get("adopt"):
            async with _offline_desk(config, folder) as desk:
                done = await VERBS[verb](desk, args)
            if args.get("level") == Level.KILL:
                await _cancel_entries(config, folder, say)
            return done
        async with open_desk(config, folder=folder, listen=False, dry_run=dry_run, reconciled=verb not in PRICES) as desk:
            if verb in ORDERS and verb != "cancel":
                await desk.wait(lambda: all(desk.ready.values()), READY_WITHIN_NS)
            return await VERBS[verb](desk, args)
    except LeaseHeld:
        if not _there(folder / "desk.sock"):
            raise
    if (dry_run or config.dry_run) and verb in ORDERS:
        raise BadRequest("a dry run has a desk of its own: stop the running desk, or start that one with DRY_RUN=true")
    client = await Client.connect(folder / "desk.sock")
    try:
        return await client.call(verb, args)
    finally:
        await client.aclose()


async def _cancel_entries(config: Config, folder: Path, say: Callable[[str], None]) -> None:
    """What a KILL does beyond a halt: a desk that opens under it cancels the working entries. Raises _StillWorking."""

    async def opened() -> None:
        async with open_desk(config, folder=folder, listen=False):
            pass

    try:
        await _within_budget(opened, say)
    except (AuthFailed, BadRequest, ProtocolError, Unavailable) as error:
        raise _StillWorking(f"halted, but the working entries could not be cancelled: {error}") from None


class _StillWorking(Unavailable):
    """The halt stands, and so do the working entries."""


def _halt_by_file(folder: Path, args: Args, why: DeskError) -> Halt:
    """The way in that needs no answer: the desk looks for the file all the time and before every order. It halts all, whatever the scope."""
    from trading_system.transport.clock import SystemClock

    level = Level(str(args["level"]))
    said = "The desk does not answer." if isinstance(why, InDoubt | Unavailable) else str(why)
    try:
        pull(folder, level, str(args["text"]))
    except OSError as error:
        raise InDoubt(f"{said} The file {level.upper()} cannot be written in {folder}: {error.strerror}. End the desk's process.") from None
    text = f"{said} Its file is set: {folder / level.upper()}. Remove it before `trading resume`."
    return Halt(scope="all", level=level, rule="FILE", text=text, set_ns=SystemClock().now_ns())


AskJournal = Callable[[str, Args], Awaitable[object]]


@asynccontextmanager
async def open_journal(folder: Path) -> AsyncIterator[AskJournal]:
    """Ask a folder's journal: through the desk that holds it, else opened here. Raises BadRequest: there is none. LeaseHeld: a command has it."""
    if not _there(folder / "journal.sqlite"):
        raise BadRequest(f"there is no journal in {folder}")
    try:
        lease = Lease(folder / "desk.lock", f"the journal in {folder.name}")
    except LeaseHeld:
        if not _there(folder / "desk.sock"):
            raise
        client = await Client.connect(folder / "desk.sock")
        try:
            yield client.call
        finally:
            await client.aclose()
        return
    with lease:
        journal = Journal(folder / "journal.sqlite")
        try:
            yield lambda verb, args: JOURNAL_VERBS[verb](journal, args)
        finally:
            journal.abandon()


_OFFLINE = frozenset({"halt", "resume", "status", "alerts", "acknowledge", "why"})  # they must work when no broker can be reached


@asynccontextmanager
async def _offline_desk(config: Config, folder: Path) -> AsyncIterator[Desk]:
    """The journal and its halts, without any broker: a halt is on disk before anybody is asked. Raises LeaseHeld."""
    from trading_system.transport.clock import SystemClock

    with Lease(folder / "desk.lock", f"the state folder {folder.name}"):
        journal = Journal(folder / "journal.sqlite")
        try:
            desk = Desk(
                books=replay(entry.record for entry in journal.read()),
                journal=journal,
                brokers={},
                hub=Hub({}),
                limits=limits_of(config),
                clock=SystemClock(),
                environment=config.trading_mode,
                names=config.brokers,
                base_currency=config.base_currency,
            )
            desk.pulled = lambda: pulled(folder)
            yield desk
        finally:
            await journal.aclose()


async def watch_heartbeat(config: Config, *, after_ns: int, say: Callable[[str], None]) -> None:
    """The watchdog of one state folder, for ever. It takes no lease: it must act while a desk that hangs still holds them."""
    from trading_system.app.deadman import guard
    from trading_system.transport.clock import SystemClock

    accounts = [account for account in accounts_of(config) if account.paper is None]
    if not accounts:
        raise BadRequest("a paper account that is simulated here needs no watchdog: its orders fill only while a desk runs")
    async with AsyncExitStack() as stack:
        brokers = [_connector(account, None) for account in accounts]
        for broker in brokers:
            stack.push_async_callback(broker.aclose)
        await guard(state_folder(config), brokers, SystemClock(), after_ns=after_ns, say=say)


@asynccontextmanager
async def served_twin(
    broker: str,
    *,
    port: int = 0,
    seed: int = 0,
    cash: Decimal = Decimal(100_000),
    hours: str = "always",
    kind: str = "paper",
    speed: int = 1,
    rate: int | None = None,
    replay: tuple[str, ...] = (),
    faults: int | None = None,
    web: bool = False,
) -> AsyncIterator[Mapping[str, str]]:
    """A twin on loopback until the block ends: where it listens, and the key that it made. web: of ibkr's Web API instead of TWS.
    Raises BadRequest: no such twin."""
    from trading_system.sim.faults import FaultPlan
    from trading_system.sim.host import serve
    from trading_system.transport.clock import SystemClock

    registry.folder(broker)  # refuses a broker that is not there
    module = importlib.import_module(f"trading_system.brokers.{broker}.twin")
    if web and broker != "ibkr":
        raise BadRequest(f"--web: {broker} has one way in; ibkr has two")
    made = importlib.import_module("trading_system.brokers.ibkr.twin.web") if web else module
    now_ns = SystemClock().now_ns()
    twin = made.TWIN(
        seed=seed,
        start_ns=now_ns,
        cash=cash,
        hours=hours,
        environment=kind,
        **({} if rate is None else {"requests_per_minute": rate}),
        recordings=_recordings(module.universe(hours).listings, replay, now_ns),
    )
    async with AsyncExitStack() as stack:
        try:
            host = await stack.enter_async_context(serve(twin, port=port, speed=speed, faults=None if faults is None else FaultPlan(faults)))
        except OSError as error:
            raise BadRequest(f"the twin cannot listen on port {port}: {os.strerror(error.errno or 0)}") from None
        yield {"rest": host.url, "data": host.url, "ws": host.ws_url, **twin.credentials}


def _recordings(listings: "tuple[Listing, ...]", replay: tuple[str, ...], now_ns: int) -> "dict[str, Recording]":
    """SYMBOL=FILE pairs as recordings that start now. Raises BadRequest: no such symbol, or a file that cannot be read."""
    from trading_system.sim.market import read_recording

    found = {}
    for pair in replay:
        symbol, _, name = pair.partition("=")
        listing = next((item for item in listings if item.symbol == symbol.upper()), None)
        if listing is None or not name:
            raise BadRequest(f"--replay {pair}: write SYMBOL=FILE, with a symbol that the twin lists")
        try:
            with Path(name).expanduser().open(encoding="utf-8") as lines:
                found[listing.symbol] = read_recording(lines, listing, jsonl=name.endswith(".jsonl")).starting(now_ns // (60 * SECOND_NS))
        except (OSError, ValueError) as error:
            raise BadRequest(f"--replay {pair}: {error}") from None
    return found


def twin_account(broker: str, twin: Mapping[str, str]) -> Account:
    """The account that a served twin is."""
    return Account(
        broker=BrokerName(broker),
        environment="paper",
        credentials={field: Secret(twin[field]) for field in CREDENTIALS[broker]},
        options={"url": twin["rest"]},
        twin=True,
    )
