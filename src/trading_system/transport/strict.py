"""JSON messages in which no field stands twice. msgspec, as most readers, would take the last one; which one the broker meant, nobody knows."""

import json
from collections.abc import Sequence
from typing import TypeVar

import msgspec

_T = TypeVar("_T")


def decode(message: str | bytes, kind: type[_T]) -> _T:
    """One message as what it should be. Twice the work of msgspec alone, so not for market data.

    Raises: msgspec.MsgspecError: not JSON, not of that kind, or a field that stands twice anywhere in it. RecursionError: nested too deeply.
    """
    found = msgspec.json.decode(message, type=kind)
    try:
        _names.decode(message if isinstance(message, str) else message.decode())
    except ValueError as error:  # msgspec reads only as much as the kind wants
        raise msgspec.DecodeError(str(error)) from None
    return found


def _once(fields: Sequence[tuple[str, object]]) -> None:
    names = [name for name, _ in fields]
    if len(set(names)) < len(names):
        raise ValueError(f"the field {max(names, key=names.count)!r} stands twice")


def _unread(_: str) -> None:
    """Numbers were read by msgspec."""


_names = json.JSONDecoder(object_pairs_hook=_once, parse_int=_unread, parse_float=_unread)
