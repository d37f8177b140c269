"""Strategies by name: those that are here, and those in somebody's file."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from trading_system.domain.errors import BadRequest
from trading_system.strategy.bars import parse_period
from trading_system.strategy.base import Strategy

BUILT_IN = {
    "ma-cross": "ma_cross:MaCross",
    "donchian": "donchian:Donchian",
    "mean-reversion": "mean_reversion:MeanReversion",
    "rebalance": "rebalance:Rebalance",
    "buy-and-hold": "buy_and_hold:BuyAndHold",
}


def strategy_class(name: str) -> type[Strategy]:
    """The class of a strategy: one of ours, or of a file as my_strategy.py, or my_strategy.py:Name where it has several.

    Raises BadRequest: no such thing, or a file that cannot be run; with what there is.
    """
    if name in BUILT_IN:
        module, _, title = BUILT_IN[name].partition(":")
        found: type[Strategy] = getattr(importlib.import_module(f"trading_system.strategy.{module}"), title)
        return found
    file, colon, title = name.rpartition(":")
    path = Path(file if colon and file.endswith(".py") else name)
    if path.suffix != ".py":
        raise BadRequest(f"there is no strategy {name}: write the name of a .py file, or one of {', '.join(BUILT_IN)}")
    classes = _classes(path)
    if colon and file.endswith(".py"):
        if title not in classes:
            raise BadRequest(f"{path.name} has no strategy {title}; it has {', '.join(classes) or 'none'}")
        return classes[title]
    if len(classes) != 1:
        raise BadRequest(
            f"{path.name} has {', '.join(classes) or 'no subclass of Strategy'}: name one, as {path.name}:{next(iter(classes), 'MyStrategy')}"
        )
    return next(iter(classes.values()))


def _classes(path: Path) -> dict[str, type[Strategy]]:
    if not path.is_file():
        raise BadRequest(f"there is no file {path}")
    spec = importlib.util.spec_from_file_location(f"strategy_file_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError, NameError, TypeError, ValueError, AttributeError) as error:
        raise BadRequest(f"{path.name} cannot be run: {type(error).__name__}: {error}") from None
    members = inspect.getmembers(module, inspect.isclass)
    return {name: kind for name, kind in members if issubclass(kind, Strategy) and kind.__module__ == module.__name__}


def make(name: str, settings: Mapping[str, str]) -> Strategy:
    """A strategy with its parameters set; they are parsed by the type of each default.

    Raises BadRequest: a parameter it does not have, or a value of the wrong kind.
    """
    kind = strategy_class(name)
    known = parameters(kind)
    unknown = [key for key in settings if key not in known]
    if unknown:
        raise BadRequest(f"{name} has no {', '.join(unknown)}; it has {', '.join(known) or 'no parameters'}")
    values = {key: _value(key, text, known[key]) for key, text in settings.items()}
    try:
        strategy = kind(**values)
        if strategy.bars:
            parse_period(strategy.bars)
        strategy.instruments = tuple(str(name).strip().upper() for name in strategy.instruments)
    except (TypeError, ValueError) as error:
        raise BadRequest(f"{name}: {error}") from None
    if not strategy.instruments:
        raise BadRequest(f"{name} names no instruments")
    return strategy


def parameters(kind: type[Strategy]) -> dict[str, object]:
    """What can be set, and its default."""
    if kind.__init__ is object.__init__:
        return {}
    found = inspect.signature(kind).parameters.values()
    return {item.name: item.default for item in found if item.default is not inspect.Parameter.empty}


def _value(key: str, text: str, default: object) -> object:
    kind = type(default)
    try:
        if kind is bool:
            return {"true": True, "false": False}[text.lower()]
        return kind(text) if kind in (int, float) else text
    except (KeyError, ValueError):
        raise BadRequest(f"{key} is {_A[kind]}, not {text!r}") from None


_A = {bool: "true or false", int: "a whole number", float: "a number"}


def settings_of(pairs: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE pairs. Raises BadRequest: one that is none."""
    found = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise BadRequest(f"{pair!r} is no setting: write --set fast=10")
        found[name.strip().replace("-", "_")] = value.strip()
    return found
