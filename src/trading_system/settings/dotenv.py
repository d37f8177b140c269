"""Reading .env strictly, and finding it: a key twice is an error, an unknown one a warning, a near-miss of one of ours an error."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from trading_system.settings.keys import ALIASES, KEYS, PREFIXES, Key
from trading_system.settings.secret import PEM, Secret

PARENTS_MAX = 4
FLAGS = {"true": True, "false": False, "1": True, "0": False, "yes": True, "no": False, "on": True, "off": False}
_PLACEHOLDER = re.compile(r"your_.*|.{0,4}x{4,}|<.*>|\.\.\.|changeme", re.IGNORECASE)


class Source(NamedTuple):
    """Values by name, where each stands (for messages), and what is wrong or odd about the file."""

    values: Mapping[str, str]
    places: Mapping[str, str]
    problems: tuple[str, ...]
    warnings: tuple[str, ...]


def find_env_file(environ: Mapping[str, str], folder: Path) -> Path | None:
    """$TRADING_ENV_FILE, else .env here or in a parent up to the one with our pyproject.toml; one that nobody can read is found, too, and says so."""
    named = environ.get("TRADING_ENV_FILE")
    if named is not None:
        return Path(named)
    for place in (folder, *list(folder.parents)[:PARENTS_MAX]):
        if _may_be_there(place / ".env"):
            return place / ".env"
        if (place / "pyproject.toml").is_file():
            return None
    return None


def _may_be_there(path: Path) -> bool:
    """What we may not look at is not passed over: an owner's keys may be in it."""
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        pass
    return True


def is_placeholder(value: str) -> bool:
    """Empty, your_…, PKxxxxxxxx: not configured."""
    return not value or _PLACEHOLDER.fullmatch(value) is not None


def read_env_file(path: Path) -> Source:
    """Raises OSError: it cannot be read."""
    from dotenv.parser import parse_stream

    values: dict[str, str] = {}
    places: dict[str, str] = {}
    problems: list[str] = []
    warnings: list[str] = []
    with path.open(encoding="utf-8") as stream:
        for binding in parse_stream(stream):
            line = f"{path.name}:{binding.original.line}"
            if binding.error:
                problems.append(f"{line}: this line is no KEY=value")
            if binding.key is None or binding.error:
                continue
            if binding.key in values:
                problems.append(f"{line}: {binding.key} is set twice, first in {places[binding.key]}: delete one")
                continue
            values[binding.key] = (binding.value or "").strip()
            places[binding.key] = line
            found = _judge(binding.key)
            if found is not None:
                (problems if found.startswith("!") else warnings).append(f"{line}: {found.lstrip('!')}")
    return Source(values, places, tuple(problems), tuple(warnings))


def merge(source: Source, environ: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str], tuple[str, ...]]:
    """Our names only, each with its value, its place and what is wrong: the environment before the file, an empty value counts as none, and an
    alias and its name that differ, wherever each stands, are a contradiction. The one merge that the desk and BrokerCredentials share."""
    raw: dict[str, str] = {}
    places: dict[str, str] = {}
    problems = list(source.problems)
    for key in KEYS.values():
        spellings = (key.name, *(alias for alias, target in ALIASES.items() if target == key.name))
        said = {name: found for name in spellings if (found := _said(key, name, source, environ)) is not None}
        if len({_meaning(key, value) for value, _ in said.values()}) > 1:
            problems.append(f"{' and '.join(f'{name} ({place})' for name, (_, place) in said.items())} contradict each other: keep one")
        if said:
            raw[key.name], places[key.name] = next(iter(said.values()))
    return raw, places, tuple(problems)


def _said(key: Key, name: str, source: Source, environ: Mapping[str, str]) -> tuple[str, str] | None:
    """What one spelling says, and where; None: nothing, or what an example file says."""
    for values, place in ((environ, "environment"), (source.values, source.places.get(name, ""))):
        value = values.get(name, "").strip()
        if value and not (key.kind == "secret" and is_placeholder(value)):
            return value, place
    return None


def _meaning(key: Key, value: str) -> object:
    """Two spellings of one meaning do not contradict each other: true, True and yes."""
    return FLAGS.get(value.lower(), value) if key.kind == "flag" else value


def odd_names(environ: Mapping[str, str]) -> tuple[str, ...]:
    """Names in the environment that begin as ours do and are a slip away from one: warnings, because the environment holds other people's too."""
    return tuple(
        f"environment: {found.lstrip('!')}" for name in environ if name.upper().startswith(PREFIXES) and (found := _judge(name) or "").startswith("!")
    )


def parse_secret(raw: str) -> Secret | None:
    """None: a placeholder, not configured. Raises ValueError: it cannot be a key as it stands; the value is not in the text."""
    if is_placeholder(raw):
        return None
    if any(char.isspace() for char in raw) and not raw.startswith(PEM):
        raise ValueError("has a space inside: copy it again")
    return Secret(raw)


def _judge(name: str) -> str | None:
    if name in KEYS or name in ALIASES or name == "TRADING_ENV_FILE":
        return None
    near = next((key for key in (*KEYS, *ALIASES) if _near(name, key)), None)
    return f"{name} is not a setting" if near is None else f"!{name} is not a setting; did you mean {near}?"


def _near(one: str, two: str) -> bool:
    """The same letters apart from case and underscores, or at most two letters apart."""
    bare_one, bare_two = one.upper().replace("_", ""), two.replace("_", "")
    return bare_one == bare_two or (len(two) > 6 and _distance_within(one.upper(), two, 2))


def _distance_within(one: str, two: str, limit: int) -> bool:
    if abs(len(one) - len(two)) > limit:
        return False
    row = list(range(len(two) + 1))
    for i, a in enumerate(one, 1):
        before, row[0] = row[0], i
        for j, b in enumerate(two, 1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1] <= limit


def with_settings(text: str, values: Mapping[str, str]) -> str:
    """The text of an .env file in which these settings have these values: on the line where each stands already, else at its end.

    >>> print(with_settings("# mine\\nLOG_LEVEL=INFO  # much\\n", {"LOG_LEVEL": "DEBUG", "TRADING_MODE": "paper"}), end="")
    # mine
    LOG_LEVEL=DEBUG
    TRADING_MODE=paper
    """
    left, lines = dict(values), []
    for line in text.splitlines():
        name = line.partition("=")[0].strip().removeprefix("export ").strip()
        lines.append(f"{name}={_written(left.pop(name))}" if name in left else line)
    return "".join(f"{line}\n" for line in (*lines, *(f"{name}={_written(value)}" for name, value in left.items())))


def _written(value: str) -> str:
    """As dotenv reads it back: in quotes where something in it would mean something."""
    if re.fullmatch(r"[\w./:@+,%-]*", value):
        return value
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
