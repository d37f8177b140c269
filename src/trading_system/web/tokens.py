"""Who may ask the desk over HTTP, and for what: tokens of 256 bits, kept as hashes in a file of the owner's alone."""

import hashlib
import os
import secrets
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path

import msgspec

from trading_system.domain.errors import BadRequest
from trading_system.settings.private import put_private

FILE = "web-tokens.json"
OWNER_FILE = "web-token"  # the first token, in clear text, 0600: for whoever can read the state folder anyway
OWNER = "owner"
DAYS_MAX = 366
SESSION_NS = 12 * 3_600_000_000_000
SESSIONS_MAX = 32  # browsers that are logged in; the oldest is logged out by one more
TOKENS_MAX = 64
_DAY_NS = 86_400_000_000_000
_BYTES = 32


class Scope(StrEnum):
    """What a token lets one do. Each stands for itself: whoever may trade may not arm, whoever may halt need not be able to read."""

    READ = "read"
    HALT = "halt"  # stop taking risk: it can do the least harm
    TRADE = "trade"
    ARM = "arm"  # let live orders out, clear halts: it can do the most


OWNER_SCOPES = (Scope.READ, Scope.HALT, Scope.TRADE)  # to arm and to resume by HTTP is a token of its own


class Token(msgspec.Struct, frozen=True, kw_only=True):
    """digest: SHA-256 of the token, which is random: no salt and no slow hash would add to it. session: of a browser that logged in."""

    name: str
    digest: str
    scopes: tuple[Scope, ...]
    made_ns: int
    until_ns: int
    session: bool = False


class Tokens:
    """The tokens of one state folder; each call reads and writes the file, so that the command line and a running desk see the same.

    Raises BadRequest: the file cannot be read, written, or is open to others.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / FILE
        self._owner_path = folder / OWNER_FILE
        self._stamp = (-1, -1)
        self._known: dict[str, Token] = {}

    @property
    def owner_path(self) -> Path:
        return self._owner_path

    def all(self) -> tuple[Token, ...]:
        self._read()
        return tuple(self._known.values())

    def find(self, text: str, now_ns: int) -> Token | None:
        """Whose it is; None: nobody's, or not any more. Looked up by its hash: nothing about the stored ones can be timed out of it."""
        self._read()
        token = self._known.get(_digest(text))
        return token if token is not None and now_ns < token.until_ns else None

    def add(self, name: str, scopes: Iterable[Scope], now_ns: int, days: int) -> str:
        """A new token: the one time that it is there in clear text. A name is one token's: the one before is void (that rotates it)."""
        return self._make(name, tuple(sorted(set(scopes), key=tuple(Scope).index)), now_ns, now_ns + days * _DAY_NS, session=False)

    def open_session(self, token: Token, now_ns: int) -> tuple[str, int]:
        """Log a browser in with what this token may; the value of its cookie, and until when. It does not outlive the token."""
        self._read()
        sessions = [known for known in self._known.values() if known.session]
        for old in sessions[: max(0, len(sessions) - SESSIONS_MAX + 1)]:
            del self._known[old.digest]
        until_ns = min(token.until_ns, now_ns + SESSION_NS)
        return self._make(token.name, token.scopes, now_ns, until_ns, session=True), until_ns

    def remove(self, name: str) -> int:
        """Void a token and every browser that logged in with it; how many there were."""
        self._read()
        gone = [token for token in self._known.values() if token.name == name]
        for token in gone:
            del self._known[token.digest]
        self._write()
        return len(gone)

    def close_session(self, text: str) -> None:
        self._read()
        token = self._known.get(_digest(text))
        if token is not None and token.session:
            del self._known[token.digest]
            self._write()

    def owner(self, now_ns: int) -> Path:
        """See that there is a first token; where it lies. A file that others may read is refused: its token is made anew."""
        self._read()
        if not any(token.name == OWNER and not token.session and now_ns < token.until_ns for token in self._known.values()) or not _private(
            self._owner_path
        ):
            put_private(self._owner_path, (self.add(OWNER, OWNER_SCOPES, now_ns, DAYS_MAX) + "\n").encode())
        return self._owner_path

    def _make(self, name: str, scopes: tuple[Scope, ...], now_ns: int, until_ns: int, *, session: bool) -> str:
        self._read()
        if not session:
            self._known = {digest: token for digest, token in self._known.items() if token.name != name}
        self._known = {digest: token for digest, token in self._known.items() if now_ns < token.until_ns}
        if len(self._known) >= TOKENS_MAX:
            raise BadRequest(f"there are {TOKENS_MAX} tokens; `trading token list` shows them, `trading token remove NAME` voids one")
        text = secrets.token_urlsafe(_BYTES)
        digest = _digest(text)
        self._known[digest] = Token(name=name, digest=digest, scopes=scopes, made_ns=now_ns, until_ns=until_ns, session=session)
        self._write()
        return text

    def _read(self) -> None:
        try:
            stat = self._path.stat()
        except FileNotFoundError:
            self._known, self._stamp = {}, (-1, -1)
            return
        stamp = (stat.st_mtime_ns, stat.st_ino)
        if stamp == self._stamp:
            return
        if not _private(self._path):
            raise BadRequest(f"{self._path} can be read by others: `chmod 600` it, and make its tokens anew")
        try:
            found = msgspec.json.decode(self._path.read_bytes(), type=list[Token])
        except (OSError, msgspec.MsgspecError) as error:
            raise BadRequest(f"{self._path} cannot be read ({error}): delete it, and make its tokens anew") from None
        self._known, self._stamp = {token.digest: token for token in found}, stamp

    def _write(self) -> None:
        try:
            put_private(self._path, msgspec.json.format(msgspec.json.encode(list(self._known.values()))))
            stat = self._path.stat()
        except OSError as error:
            raise BadRequest(f"{self._path} cannot be written: {error.strerror}") from None
        self._stamp = (stat.st_mtime_ns, stat.st_ino)


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _private(path: Path) -> bool:
    """Whether it is there and nobody else's to read."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return False
    return stat.st_mode & 0o077 == 0 and stat.st_uid == os.getuid()
