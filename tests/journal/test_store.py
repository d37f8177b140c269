"""The journal on a real disk: what was appended is read back, in order, and nothing that happened to the file goes unnoticed."""

import asyncio
import sqlite3
from pathlib import Path

import pytest

from tests.factories import BROKER, NOW, approved
from trading_system.domain.errors import JournalError, LeaseHeld
from trading_system.domain.ids import ClOrdID
from trading_system.journal.lease import Lease
from trading_system.journal.record import Alert, Doubted, Intent, Record, decode, encode
from trading_system.journal.store import BACKLOG_MAX, Journal


def alert(number: int) -> Alert:
    return Alert(severity="info", text=f"record {number}", now_ns=NOW + number)


async def written(path: Path, count: int) -> list[Record]:
    journal = Journal(path)
    for number in range(count):
        await journal.append(alert(number), durable=True)
    await journal.aclose()
    return [alert(number) for number in range(count)]


def reopened(path: Path) -> list[Record]:
    journal = Journal(path)
    records = [entry.record for entry in journal.read()]
    journal.abandon()
    return records


async def test_records_come_back_in_the_order_of_the_calls(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    numbers = await asyncio.gather(*(journal.append(alert(number), durable=True) for number in range(200)))
    journal.note(alert(200))
    await journal.append(alert(201), durable=False)
    await journal.aclose()

    assert numbers == list(range(1, 201))
    assert reopened(tmp_path / "j.sqlite") == [alert(number) for number in range(202)]
    assert (tmp_path / "j.sqlite").stat().st_mode & 0o777 == 0o600


async def test_what_a_killed_process_had_not_written_is_lost_and_nothing_else(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    await journal.append(alert(0), durable=True)
    journal.note(alert(1))
    journal.abandon()

    assert reopened(tmp_path / "j.sqlite") == [alert(0)]


def test_money_survives_the_journal_to_the_last_digit() -> None:
    for record in (Intent(approved=approved()), Doubted(cl_ord_id=ClOrdID("q1"), text="t", now_ns=1)):
        assert decode(encode(record)) == record
    with pytest.raises(JournalError, match="newer version"):
        decode(b'{"type":"from the future"}')


async def test_an_edited_record_is_found(tmp_path: Path) -> None:
    await written(tmp_path / "j.sqlite", 5)
    with sqlite3.connect(tmp_path / "j.sqlite") as db:
        db.execute("UPDATE records SET body = ? WHERE seq = 3", (encode(alert(99)),))

    with pytest.raises(JournalError, match="record 3"):
        Journal(tmp_path / "j.sqlite")


async def test_a_lost_tail_is_found(tmp_path: Path) -> None:
    await written(tmp_path / "j.sqlite", 5)
    with sqlite3.connect(tmp_path / "j.sqlite") as db:
        db.execute("DELETE FROM records WHERE seq = 5")

    with pytest.raises(JournalError, match="ends at record 4"):
        Journal(tmp_path / "j.sqlite")


async def test_a_commit_whose_head_was_not_yet_written_is_whole(tmp_path: Path) -> None:
    await written(tmp_path / "j.sqlite", 4)
    head = (tmp_path / "j.head").read_bytes()
    await written(tmp_path / "j.sqlite", 1)
    (tmp_path / "j.head").write_bytes(head)

    assert len(reopened(tmp_path / "j.sqlite")) == 5


@pytest.mark.parametrize("byte", range(0, 56, 5))
async def test_a_torn_head_write_leaves_the_other_slot(tmp_path: Path, byte: int) -> None:
    await written(tmp_path / "j.sqlite", 5)  # the newest head, 5, is in the first slot, 4 in the second
    head = bytearray((tmp_path / "j.head").read_bytes())
    head[byte] ^= 0xFF
    (tmp_path / "j.head").write_bytes(head)
    Journal(tmp_path / "j.sqlite").abandon()
    head[4096 + byte] ^= 0xFF
    (tmp_path / "j.head").write_bytes(head)
    with pytest.raises(JournalError, match="head file is damaged"):
        Journal(tmp_path / "j.sqlite")


async def test_a_newer_schema_is_left_alone(tmp_path: Path) -> None:
    await written(tmp_path / "j.sqlite", 1)
    with sqlite3.connect(tmp_path / "j.sqlite") as db:
        db.execute("PRAGMA user_version = 99")

    with pytest.raises(JournalError, match="newer"):
        Journal(tmp_path / "j.sqlite")


async def test_a_file_that_is_no_journal_is_refused(tmp_path: Path) -> None:
    (tmp_path / "j.sqlite").write_bytes(b"not a database, and long enough to be read as a header " * 20)

    with pytest.raises(JournalError, match="cannot be opened"):
        Journal(tmp_path / "j.sqlite")


async def test_a_file_that_was_refused_is_let_go_at_once(tmp_path: Path) -> None:
    await written(tmp_path / "j.sqlite", 2)
    whole = (tmp_path / "j.sqlite").read_bytes()
    (tmp_path / "j.sqlite").write_bytes(b"not a database, and long enough to be read as a header " * 20)
    with pytest.raises(JournalError, match="not a database") as refused:
        Journal(tmp_path / "j.sqlite")
    (tmp_path / "j.sqlite").write_bytes(whole)

    assert reopened(tmp_path / "j.sqlite") == [alert(0), alert(1)], refused  # who still holds the error holds no lock


async def test_after_the_disk_refused_once_nothing_is_written_any_more(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    await journal.append(alert(0), durable=True)
    journal._db.execute("PRAGMA max_page_count = 1")  # SQLite's own way to be full
    with pytest.raises(JournalError, match="refused"):
        await asyncio.gather(*(journal.append(Alert(severity="info", text="x" * 9_000, now_ns=1), durable=True) for _ in range(9)))
    with pytest.raises(JournalError, match="refused"):
        journal.note(alert(1))


async def test_the_backlog_is_bounded(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    for number in range(BACKLOG_MAX):
        journal.note(alert(number))
    with pytest.raises(JournalError, match="does not keep up"):
        journal.note(alert(0))
    await journal.aclose()
    with pytest.raises(JournalError, match="closed"):
        journal.note(alert(0))


async def test_a_backup_is_a_journal_of_its_own(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    await journal.append(alert(0), durable=True)
    journal.backup(tmp_path / "copy.sqlite")
    await journal.append(alert(1), durable=True)
    with pytest.raises(JournalError, match="exists"):
        journal.backup(tmp_path / "copy.sqlite")
    await journal.aclose()

    assert (tmp_path / "copy.sqlite").stat().st_mode & 0o777 == 0o600
    assert reopened(tmp_path / "copy.sqlite") == [alert(0)]


def test_a_lease_has_one_holder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "desk.lock"
    first = Lease(path, f"the account at {BROKER}")
    with pytest.raises(LeaseHeld, match=r"the account at alpaca is in use by another desk \(process \d+\)"):
        Lease(path, f"the account at {BROKER}")
    first.release()
    first.release()
    with Lease(path, "it"):
        pass
