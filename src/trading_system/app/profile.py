"""A further account of a broker: its connector, which knows the broker under its own name alone, as the desk knows the account: alpaca-ira."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from inspect import isawaitable
from typing import Any, Protocol, cast

from msgspec.structs import replace

from trading_system.brokers.registry import named
from trading_system.domain import ports
from trading_system.domain.account import AccountSnapshot, Flow
from trading_system.domain.event import AccountActivity, AccountEvent
from trading_system.domain.ids import BrokerName
from trading_system.domain.instrument import Instrument
from trading_system.domain.order import Approved, NewOrder, Order
from trading_system.domain.portfolio import PortfolioHistory
from trading_system.domain.ports import Connector, StreamState
from trading_system.domain.report import ExecutionReport

_Call = Callable[..., Any]
CARRIERS = (ExecutionReport, AccountSnapshot, StreamState, Instrument, Flow, Order, NewOrder, PortfolioHistory, AccountActivity)
PORTS = tuple(port for port in vars(ports).values() if isinstance(port, type) and Protocol in port.__bases__ and port is not ports.Clock)


def profiled(inner: Connector, name: BrokerName) -> Connector:
    """The same connector under this name, with every method of a port that it has and none that it has not."""
    return cast("Connector", _Profiled(inner, name))


class _Profiled:
    """What goes in is told under the broker's own name, what comes out under the profile's. Errors pass as they are."""

    def __init__(self, inner: Connector, name: BrokerName) -> None:
        self.facts = named(inner.facts, name)
        for port in PORTS:
            for method in methods_of(port):
                if hasattr(inner, method):
                    setattr(self, method, _translated(getattr(inner, method), inner.facts.broker, name))


def methods_of(port: type) -> tuple[str, ...]:
    """What a port asks for, but for data; an heir's are its parents'."""
    return tuple(name for name, value in vars(port).items() if callable(value) and not name.startswith("_"))


def _translated(call: _Call, inside: BrokerName, outside: BrokerName) -> _Call:
    """The call, whether it answers at once, later, or bit by bit."""

    def translated(*args: Any, **kwargs: Any) -> Any:
        given = (renamed(arg, inside, outside) for arg in args)
        result = call(*given, **{name: renamed(arg, inside, outside) for name, arg in kwargs.items()})
        if isawaitable(result):
            return _later(result, outside, inside)
        return _stream(result, outside, inside) if isinstance(result, AsyncIterator) else renamed(result, outside, inside)

    return translated


async def _later(result: Awaitable[Any], to: BrokerName, back: BrokerName) -> Any:
    return renamed(await result, to, back)


async def _stream(events: AsyncIterator[Any], to: BrokerName, back: BrokerName) -> AsyncGenerator[Any]:
    """Ends what it reads when its own reader is through."""
    try:
        async for event in events:
            yield renamed(event, to, back)
    finally:
        if isinstance(events, AsyncGenerator):
            await events.aclose()


def renamed(value: Any, to: BrokerName, back: BrokerName) -> Any:
    """The same, told under the other name, as deep as the broker's name stands in it. What is called with such a value hears it under the first."""
    match value:
        case ExecutionReport():
            return replace(value, broker=to, children=tuple(renamed(child, to, back) for child in value.children))
        case Approved():
            return replace(value, request=replace(value.request, broker=to))
        case AccountEvent():
            return replace(value, report=renamed(value.report, to, back))
        case tuple() | list():
            return tuple(renamed(item, to, back) for item in value)
        case Iterator():
            return (renamed(item, to, back) for item in value)
    if isinstance(value, CARRIERS):
        return replace(value, broker=to)
    return _translated(value, back, to) if callable(value) else value
