"""Logs to stderr, as JSON or text, with one redaction at the root: whatever is said, no live secret is in it."""

import base64
import json
import logging
import re
import sys
import traceback
from collections.abc import Iterator, MutableMapping
from functools import lru_cache
from types import TracebackType
from typing import Any, TextIO
from urllib.parse import quote

from trading_system.core.lifecycle import Applied
from trading_system.journal.record import Alert, HaltSet, Intent, Record
from trading_system.settings.secret import live_values

MASK = "****"

_PATTERNS = (
    re.compile(r"(?i)(bearer|basic)\s+[A-Za-z0-9+/=._~-]{8,}"),
    re.compile(r"(?i)((?:APCA-API-[A-Z-]+|X-MBX-APIKEY|API-Key|API-Sign|X-BAPI-[A-Z-]+)[\"']?\s*[:=]\s*[\"']?)[^\s\"',}]+"),
    re.compile(r"(?i)([?&](?:signature|token|api_?key|secret)=)[^&\s\"']+"),
)


def redact(text: str) -> str:
    """The text with every live secret, in every spelling it may have taken, and every header that carries one, masked."""
    for value in sorted(live_values(), key=len, reverse=True):
        for form in _forms(value):
            if form in text:
                text = text.replace(form, MASK)
    for pattern in _PATTERNS:
        text = pattern.sub(lambda found: f"{found.group(1)} {MASK}" if found.group(1).isalpha() else f"{found.group(1)}{MASK}", text)
    return text


@lru_cache(maxsize=256)  # computed once a secret, not once a line
def _forms(value: str) -> tuple[str, ...]:
    """Every spelling in which a secret is looked for, the longest first, so that none is cut short by another."""
    raw = value.encode()
    plain = [value, value[::-1], quote(value, safe=""), quote(value), raw.hex(), raw.hex().upper(), *_packed(raw)]
    escaped = [form for text in plain for form in (text, _json(text), _json(_json(text)), repr(text)[1:-1])]
    return tuple(sorted(set(escaped), key=len, reverse=True))


def _json(text: str) -> str:
    return json.dumps(text)[1:-1]


def _packed(raw: bytes) -> Iterator[str]:
    """Base64 of a text that holds the secret somewhere: the characters that only the secret decides, for each of the three places it may begin."""
    for before in range(3):
        text = base64.b64encode(b"\0" * before + raw).decode()
        core = text[-(-before * 8 // 6) : (before + len(raw)) * 8 // 6]
        yield from (core, core.replace("+", "-").replace("/", "_"))


def _clean(value: object) -> object:
    """A log field without secrets, before anything is escaped: what JSON does to a quote must not hide one."""
    if value is None or isinstance(value, bool | int):
        return value
    if isinstance(value, dict):
        return {redact(str(name)): _clean(item) for name, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_clean(item) for item in value]
    return redact(str(value))


class _RootFormatter(logging.Formatter):
    """What the standard library's loggers say, in our form."""

    def __init__(self, fmt: str) -> None:
        super().__init__()
        self._json = fmt == "json"

    def format(self, record: logging.LogRecord) -> str:
        import msgspec

        event: dict[str, object] = {"level": record.levelname.lower(), "logger": record.name, "event": record.getMessage()}
        extra = getattr(record, "fields", None)
        if isinstance(extra, dict):
            event |= extra
        if record.exc_info and record.exc_info[1] is not None:
            event["exception"] = "".join(traceback.format_exception(record.exc_info[1], limit=-8)).strip()
        event = {redact(name): _clean(value) for name, value in event.items()}
        if self._json:
            return redact(msgspec.json.encode({"time": self.formatTime(record), **event}).decode())
        rest = " ".join(f"{name}={value}" for name, value in event.items() if name not in ("level", "logger", "event"))
        return redact(f"{self.formatTime(record)} {event['level']:<7} {event['event']} {rest}".rstrip())


def configure_logs(level: str, fmt: str, stream: TextIO | None = None) -> None:
    """Set up once per process: root handler, structlog on top of it, warnings, last-resort tracebacks, no core dumps."""
    import structlog

    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(_RootFormatter(fmt))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for chatty in ("aiohttp", "asyncio", "keyring", "picows", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    structlog.configure(
        processors=[structlog.contextvars.merge_contextvars, _to_stdlib],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=False,
    )
    logging.captureWarnings(True)
    sys.excepthook = _excepthook
    _no_core_dumps()


def log_record(record: Record, applied: Applied | None) -> None:
    """One line for each record the desk writes; everything about an order carries its cl_ord_id. Silent until configure_logs()."""
    import structlog

    if not structlog.is_configured():
        return
    fields: dict[str, object] = {}
    if applied is not None:
        order = applied.order
        fields = {"cl_ord_id": order.cl_ord_id, "instrument": order.instrument, "ord_status": str(order.ord_status), "cum_qty": str(order.cum_qty)}
        fields |= {"anomaly": str(applied.anomaly)} if applied.anomaly is not None else {}
    elif isinstance(record, Intent):
        request = record.approved.request
        fields = {"cl_ord_id": record.approved.cl_ord_id, "instrument": request.instrument, "side": str(request.side), "qty": str(request.order_qty)}
    elif isinstance(record, HaltSet):
        fields = {"scope": record.halt.scope, "rule": record.halt.rule, "text": record.halt.text}
    else:
        fields = {name: getattr(record, name) for name in ("cl_ord_id", "scope", "severity", "text") if hasattr(record, name)}
    log = structlog.get_logger("desk")
    severe = isinstance(record, HaltSet) or (isinstance(record, Alert) and record.severity != "info")
    (log.warning if severe else log.info)(type(record).__name__.lower(), **fields)


def _to_stdlib(_: Any, __: str, event: MutableMapping[str, Any]) -> tuple[tuple[object, ...], dict[str, Any]]:
    text = event.pop("event")
    exc_info = event.pop("exc_info", None)
    return (text,), {"extra": {"fields": dict(event)}, "exc_info": exc_info}


def _excepthook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A bug's traceback, without locals and without secrets."""
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))


def _no_core_dumps() -> None:
    """A core file would hold every secret in plain text."""
    try:
        import resource
    except ModuleNotFoundError:  # Windows has no core files of this kind
        return
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
