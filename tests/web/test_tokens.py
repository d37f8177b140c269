"""Tokens: kept as hashes in a file of the owner's, with an end, a scope and a name that rotates."""

import os
import stat
from pathlib import Path

import pytest

from trading_system.domain.errors import BadRequest
from trading_system.web.tokens import DAYS_MAX, OWNER_SCOPES, SESSION_NS, SESSIONS_MAX, TOKENS_MAX, Scope, Tokens

DAY_NS = 86_400_000_000_000
NOW_NS = 1_700_000_000_000_000_000


def test_a_token_is_found_until_its_end_and_lies_there_as_a_hash_alone(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    text = tokens.add("phone", [Scope.HALT, Scope.READ], NOW_NS, 1)
    found = tokens.find(text, NOW_NS + DAY_NS - 1)
    file = tmp_path / "web-tokens.json"

    assert found is not None
    assert (found.name, found.scopes) == ("phone", (Scope.READ, Scope.HALT))
    assert tokens.find(text, NOW_NS + DAY_NS) is None
    assert tokens.find(text + "x", NOW_NS) is None
    assert (text in file.read_text(), stat.S_IMODE(file.stat().st_mode)) == (False, 0o600)
    assert len(text) >= 43  # 256 bits


def test_a_name_is_one_token_and_what_another_process_wrote_is_seen(tmp_path: Path) -> None:
    desk, shell = Tokens(tmp_path), Tokens(tmp_path)
    first = shell.add("grafana", [Scope.READ], NOW_NS, 90)
    seen = desk.find(first, NOW_NS)
    second = shell.add("grafana", [Scope.READ], NOW_NS, 90)

    assert seen is not None
    assert (desk.find(first, NOW_NS), desk.find(second, NOW_NS) is not None) == (None, True)
    assert (shell.remove("grafana"), desk.find(second, NOW_NS), shell.remove("grafana")) == (1, None, 0)


def test_the_owners_token_is_made_once_and_anew_where_others_could_have_read_it(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    path = tokens.owner(NOW_NS)
    first = path.read_text().strip()
    tokens.owner(NOW_NS)
    found = tokens.find(first, NOW_NS)

    assert found is not None
    assert (found.scopes, stat.S_IMODE(path.stat().st_mode)) == (OWNER_SCOPES, 0o600)
    assert path.read_text().strip() == first

    path.chmod(0o644)
    tokens.owner(NOW_NS)

    assert (path.read_text().strip() == first, tokens.find(first, NOW_NS), stat.S_IMODE(path.stat().st_mode)) == (False, None, 0o600)

    tokens.owner(NOW_NS + (DAYS_MAX + 1) * DAY_NS)

    assert tokens.find(path.read_text().strip(), NOW_NS + (DAYS_MAX + 1) * DAY_NS) is not None


def test_a_browser_may_what_its_token_may_and_goes_with_it(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    text = tokens.add("owner", [Scope.READ], NOW_NS, 1)
    token = tokens.find(text, NOW_NS)
    assert token is not None
    cookies = [tokens.open_session(token, NOW_NS)[0] for _ in range(SESSIONS_MAX + 1)]
    known = [tokens.find(cookie, NOW_NS) for cookie in cookies]

    assert (known[0], known[1] is not None, known[-1] is not None and known[-1].session) == (None, True, True)

    tokens.close_session(cookies[-1])
    tokens.close_session(text)  # a token is no session

    assert (tokens.find(cookies[-1], NOW_NS), tokens.find(text, NOW_NS) is not None) == (None, True)
    assert tokens.remove("owner") == SESSIONS_MAX  # its token and what was left of the browsers
    assert all(tokens.find(cookie, NOW_NS) is None for cookie in cookies)


def test_a_browser_is_logged_out_with_its_token_at_the_latest(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    text = tokens.add("owner", [Scope.READ], NOW_NS, 1)
    token = tokens.find(text, NOW_NS)
    assert token is not None

    assert tokens.open_session(token, NOW_NS)[1] == NOW_NS + SESSION_NS
    assert tokens.open_session(token, NOW_NS + DAY_NS - 5)[1] == NOW_NS + DAY_NS


def test_tokens_are_bounded_and_a_file_that_others_may_read_or_that_is_none_is_refused(tmp_path: Path) -> None:
    tokens = Tokens(tmp_path)
    for number in range(TOKENS_MAX):
        tokens.add(f"t{number}", [Scope.READ], NOW_NS, 1)
    with pytest.raises(BadRequest, match="trading token remove"):
        tokens.add("more", [Scope.READ], NOW_NS, 1)
    tokens.add("more", [Scope.READ], NOW_NS + DAY_NS, 1)  # those that ended make room
    file = tmp_path / "web-tokens.json"
    file.write_text("{]")
    with pytest.raises(BadRequest, match="delete it"):
        tokens.find("x", NOW_NS)
    os.chmod(file, 0o640)
    file.write_text("[]")
    with pytest.raises(BadRequest, match="chmod 600"):
        tokens.find("x", NOW_NS)
