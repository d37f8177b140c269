"""The journal's files and its lease to the last byte and word: what lies on the disk, in which steps it came there, what a refusal says."""

import asyncio
import hashlib
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable
from pathlib import Path

import apsw
import pytest

from tests.factories import AAPL, BROKER, NOW, D, approved, report
from trading_system.domain.errors import BadRequest, JournalError, LeaseHeld
from trading_system.domain.fix import ExecType, OrdStatus
from trading_system.domain.ids import ClOrdID
from trading_system.domain.instrument import AssetClass
from trading_system.journal import lease as leases
from trading_system.journal import store
from trading_system.journal.disk import SystemDisk
from trading_system.journal.head import GENESIS, Head
from trading_system.journal.lease import Lease
from trading_system.journal.record import SCHEMA_VERSION, Adjusted, Alert, CancelAsked, Intent, Record, Reported, decode, encode
from trading_system.journal.store import BACKLOG_MAX, GROUP_MAX, JOURNAL_RESERVE, NOTE_WAIT_NS, Entry, Journal, chain
from trading_system.sim.clock import run_virtual
from trading_system.sim.disk import SimDisk

SIM = Path("state/journal.sqlite")
MIB = 1 << 20


def alert(number: int) -> Alert:
    return Alert(severity="info", text=f"record {number}", now_ns=NOW + number)


async def written(path: Path, count: int, **options: object) -> Journal:
    """An open journal with so many records, each in a group of its own."""
    journal = Journal(path, **options)  # type: ignore[arg-type]
    for number in range(count):
        await journal.append(alert(number), durable=True)
    return journal


def chained(count: int) -> bytes:
    digest = GENESIS
    for number in range(count):
        digest = chain(digest, number + 1, encode(alert(number)))
    return digest


def said(call: Callable[[], object]) -> str:
    with pytest.raises(JournalError) as refused:
        call()
    return str(refused.value)


async def answered(call: Callable[[], object]) -> str:
    with pytest.raises(JournalError) as refused:
        await call()  # type: ignore[misc]
    return str(refused.value)


# -- bytes ------------------------------------------------------------------------------------------------------------------------


def test_a_record_is_json_with_its_tag_and_money_as_text() -> None:
    record = Adjusted(broker=BROKER, instrument=AAPL, asset_class=AssetClass.EQUITY, qty=D("-0.010"), price=D(0), reason="fee", fee=True, now_ns=1)

    assert encode(record) == (
        b'{"type":"adjusted","broker":"alpaca","instrument":"AAPL","asset_class":"equity",'
        b'"qty":"-0.010","price":"0","multiplier":"1","inverse":false,"reason":"fee","fee":true,"now_ns":1}'
    )
    assert said(lambda: decode(b"{")) == "a journal record cannot be read: Input data was truncated. Was it written by a newer version?"


def test_the_chain_is_over_the_former_hash_the_number_and_the_body() -> None:
    first = hashlib.blake2b(bytes(7) + b"\1" + b"body", key=bytes(32), digest_size=32).digest()

    assert chain(GENESIS, 1, b"body") == first
    assert chain(first, 258, b"") == hashlib.blake2b(bytes(6) + b"\1\2", key=first, digest_size=32).digest()


def slot(seq: int, digest: bytes) -> bytes:
    body = seq.to_bytes(8, "big") + digest
    return body + hashlib.blake2b(body, digest_size=16, person=b"journal-head").digest()


def test_the_head_is_two_slots_on_two_pages_written_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "j.head"
    head = Head(SystemDisk(), path)
    one, two, three = bytes([1]) * 32, bytes([2]) * 32, bytes([3]) * 32

    assert (head.new, head.read(), path.read_bytes()) == (True, (0, GENESIS), bytes(8192))
    head.write(1, one)
    head.write(2, two)
    assert path.read_bytes() == slot(1, one) + bytes(4040) + slot(2, two) + bytes(4040)
    head.write(300, three)
    assert path.read_bytes() == slot(300, three) + bytes(4040) + slot(2, two) + bytes(4040)
    head.close()
    again = Head(SystemDisk(), path)
    assert (again.new, again.read()) == (False, (300, three))
    again.write(301, one)
    assert path.read_bytes() == slot(300, three) + bytes(4040) + slot(301, one) + bytes(4040)
    again.close()
    last = Head(SystemDisk(), path)
    assert last.read() == (301, one)
    last.write(302, two)
    assert path.read_bytes() == slot(302, two) + bytes(4040) + slot(301, one) + bytes(4040)
    last.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        last.read()


def test_a_head_that_is_too_short_keeps_its_bytes_and_gets_its_size(tmp_path: Path) -> None:
    path = tmp_path / "j.head"
    path.write_bytes(slot(7, GENESIS) + bytes(8) + slot(8, GENESIS) + bytes(8))  # as version 0.1.0 wrote it
    head = Head(SystemDisk(), path)

    assert (head.new, head.read(), path.stat().st_size) == (False, (8, GENESIS), 8192)
    head.write(9, GENESIS)
    assert path.read_bytes()[:56] == slot(9, GENESIS)
    head.close()
    path.write_bytes(b"x" * 8192)
    assert said(Head(SystemDisk(), path).read) == "the journal's head file is damaged; restore both files from one backup"


# -- a life, step by step -----------------------------------------------------------------------------------------------------------

OPENED = ["checkpoint begun", "checkpoint done"]
GROUP = ["group begun", "group inserted", "group committed", "head written"]


async def test_the_named_steps_of_a_life_are_these(tmp_path: Path) -> None:
    steps: list[str] = []
    journal = Journal(tmp_path / "j.sqlite", step=steps.append)

    assert steps == [
        "migration begun",
        *["migration before its commit"] * SCHEMA_VERSION,
        "migrated",
        *OPENED,
    ]
    steps.clear()
    await journal.append(alert(0), durable=True)
    assert steps == GROUP
    steps.clear()
    journal.backup(tmp_path / "copy.sqlite")
    assert steps == ["backup begun", "backup has its head", "backup done"]
    steps.clear()
    await journal.aclose()
    assert steps == [*OPENED, "journal closed"]
    steps.clear()
    Journal(tmp_path / "j.sqlite", step=steps.append).abandon()
    assert steps == ["chain verified", *OPENED]


async def test_after_a_clean_end_one_file_holds_everything_and_the_head_knows_it(tmp_path: Path) -> None:
    journal = await written(tmp_path / "j.sqlite", 3)
    assert (tmp_path / "j.sqlite-wal").stat().st_size > 0
    await journal.aclose()

    assert not (tmp_path / "j.sqlite-wal").exists() or (tmp_path / "j.sqlite-wal").stat().st_size == 0
    assert (tmp_path / "j.reserve").stat().st_size == JOURNAL_RESERVE
    head = Head(SystemDisk(), tmp_path / "j.head")
    assert head.read() == (journal.seq, journal.digest) == (3, chained(3))
    head.close()
    with sqlite3.connect(tmp_path / "j.sqlite") as db:
        assert db.execute("SELECT seq, body FROM records ORDER BY seq").fetchall() == [(n + 1, encode(alert(n))) for n in range(3)]
        assert db.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)


def test_sqlite_keeps_the_file_to_itself_and_waits_for_the_disk_when_it_must(tmp_path: Path) -> None:
    for durable, waits in ((True, 2), (False, 0)):
        journal = Journal(tmp_path / f"{durable}.sqlite", durable=durable)

        asked = ("synchronous", "fullfsync", "journal_mode", "locking_mode")
        assert [journal._db.execute(f"PRAGMA {name}").get for name in asked] == [waits, 1, "wal", "exclusive"]
        assert "database is locked" in said(lambda path=journal.path: Journal(path))  # type: ignore[misc]
        journal.abandon()


async def test_without_durability_there_is_no_head_and_no_reserve_and_the_records_are_the_same(tmp_path: Path) -> None:
    journal = await written(tmp_path / "j.sqlite", 3, durable=False)
    assert await journal.verify() == (3, chained(3))
    await journal.aclose()
    again = Journal(tmp_path / "j.sqlite", durable=False)

    assert (again.seq, again.digest) == (3, chained(3))
    assert ((tmp_path / "j.head").read_bytes(), (tmp_path / "j.reserve").exists()) == (bytes(8192), False)
    again.abandon()


async def test_the_log_goes_into_the_file_when_it_is_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    journal = Journal(tmp_path / "j.sqlite", step=steps.append)
    steps.clear()
    await journal.append(alert(0), durable=True)
    pages = journal._wal_pages
    monkeypatch.setattr(store, "CHECKPOINT_PAGES", pages + 1)
    await journal.append(alert(1), durable=True)
    while journal._writer is not None:
        await journal._writer
    assert (steps, journal._wal_pages, (tmp_path / "j.sqlite-wal").stat().st_size) == ([*GROUP, *GROUP, *OPENED], 0, 0)
    monkeypatch.setattr(store, "CHECKPOINT_PAGES", 1_000)
    steps.clear()
    await journal.append(alert(2), durable=True)
    await journal.flush()

    assert steps == GROUP
    journal.abandon()


def test_a_disk_that_is_full_only_puts_the_checkpoint_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHECKPOINT_PAGES", 1)
    disk = SimDisk(random.Random(1))

    def filled(step: str) -> None:
        disk.capacity = disk.used() if step == "checkpoint begun" else 1 << 40

    async def story() -> None:
        journal = await written(SIM, 1, disk=disk, step=filled)
        for number in range(1, 60):
            await journal.append(alert(number), durable=True)
        await journal.flush()
        assert (disk.hit["full"] > 10, disk.size(SIM.with_suffix(".reserve"))) == (True, JOURNAL_RESERVE)
        await journal.aclose()
        again = Journal(SIM, disk=disk)
        assert [entry.record for entry in again.read()] == [alert(number) for number in range(60)]
        again.abandon()

    run_virtual(lambda _: story())
    disk.close()


# -- groups and waiting -------------------------------------------------------------------------------------------------------------


def test_a_note_waits_so_long_for_somebody_to_share_its_sync_and_then_goes_alone() -> None:
    disk = SimDisk(random.Random(1))

    async def story() -> None:
        journal = Journal(SIM, disk=disk)
        journal.note(alert(0))
        await asyncio.sleep((NOTE_WAIT_NS // 2) / 1e9)
        journal.note(alert(1))
        await asyncio.sleep((NOTE_WAIT_NS // 2 - 1_000) / 1e9)
        assert journal.seq == 0
        await asyncio.sleep(2_000 / 1e9)
        assert journal.seq == 2
        journal.note(alert(2))
        await asyncio.sleep((NOTE_WAIT_NS + 1_000) / 1e9)
        assert journal.seq == 3
        journal.note(alert(3))
        assert (await journal.append(alert(4), durable=False), journal.seq) == (0, 3)
        assert await journal.append(alert(5), durable=True) == 6
        journal.note(alert(6))
        await journal.flush()
        assert [entry.record for entry in journal.read()] == [alert(number) for number in range(7)]
        journal.note(alert(7))
        journal.abandon()
        await asyncio.sleep(1)
        assert journal.seq == 7

    run_virtual(lambda _: story())
    disk.close()


async def test_so_many_records_share_a_sync_and_each_gets_its_own_number(tmp_path: Path) -> None:
    steps: list[str] = []
    journal = Journal(tmp_path / "j.sqlite", step=steps.append)
    steps.clear()
    numbers = await asyncio.gather(*(journal.append(alert(number), durable=True) for number in range(GROUP_MAX + 1)))

    assert steps == GROUP * 2
    assert numbers == list(range(1, GROUP_MAX + 2))
    journal.abandon()


async def test_everything_on_disk_happens_on_one_thread_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, str] = {}
    journal = Journal(tmp_path / "j.sqlite", step=lambda step: seen.__setitem__(step, threading.current_thread().name))
    seen.clear()

    def name() -> str:
        time.sleep(0.002)
        return threading.current_thread().name

    assert await asyncio.gather(*(journal.on_its_thread(name) for _ in range(3))) == ["journal_0"] * 3

    def spoilt() -> None:
        raise OSError("no such sector")

    assert await answered(lambda: journal.on_its_thread(spoilt)) == "the journal cannot be read: no such sector"
    monkeypatch.setattr(store, "CHECKPOINT_PAGES", 1)
    await journal.append(alert(0), durable=True)
    await journal.flush()
    assert seen == dict.fromkeys([*GROUP, *OPENED], "journal_0")
    seen.clear()
    await journal.aclose()
    assert seen == dict.fromkeys([*OPENED, "journal closed"], "journal_0")
    with pytest.raises(RuntimeError, match="after shutdown"):
        await journal.on_its_thread(name)


async def test_a_caller_that_gives_up_takes_no_record_with_it(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    waiting = asyncio.create_task(journal.append(alert(0), durable=True))
    await asyncio.sleep(0)
    waiting.cancel()
    later = await journal.append(alert(1), durable=True)

    assert (later, [entry.record for entry in journal.read()]) == (2, [alert(0), alert(1)])
    journal.abandon()


async def test_a_closed_journal_and_one_that_does_not_keep_up_say_so(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "j.sqlite")
    for number in range(BACKLOG_MAX):
        journal.note(alert(number))
    assert said(lambda: journal.note(alert(0))) == "10000 records wait for the disk; it does not keep up"
    journal.abandon()

    for call in (lambda: journal.note(alert(0)), lambda: list(journal.read()), lambda: journal.backup(tmp_path / "copy.sqlite")):
        assert said(call) == "the journal is closed"


def test_a_refusal_reaches_everybody_who_waits_and_the_end_of_the_desk() -> None:
    disk = SimDisk(random.Random(1))

    async def story() -> None:
        told: list[str] = []
        journal = await written(SIM, 1, disk=disk)
        journal.on_failure = told.append
        disk.fail("sync")
        tasks = [asyncio.create_task(journal.append(alert(number), durable=True)) for number in range(GROUP_MAX + 2)]
        journal.note(alert(0))
        answers = await asyncio.gather(*tasks, return_exceptions=True)
        text = "the disk refused the journal: [Errno 5] input/output error at a sync. Free space or repair the disk, then start again"

        assert {(type(answer), str(answer)) for answer in answers} == {(JournalError, text)}
        assert told == [text]
        assert said(lambda: journal.note(alert(1))) == text
        journal.abandon()

    run_virtual(lambda _: story())
    disk.close()


async def test_a_statement_that_fails_leaves_no_transaction_open(tmp_path: Path) -> None:
    journal = await written(tmp_path / "j.sqlite", 1)
    journal._db.execute("ALTER TABLE records RENAME TO elsewhere")

    assert "no such table: records" in await answered(lambda: journal.append(alert(1), durable=True))
    assert not journal._db.in_transaction
    journal.abandon()


# -- reading ------------------------------------------------------------------------------------------------------------------------


async def test_records_are_read_from_any_place_and_so_many_at_a_time(tmp_path: Path) -> None:
    journal = await written(tmp_path / "j.sqlite", 4)
    entries = [Entry(number + 1, alert(number), chained(number + 1)) for number in range(4)]

    assert list(journal.read()) == entries
    assert list(journal.read(after=1)) == entries[1:]
    assert await journal.entries(1, 2) == entries[1:3]
    assert await journal.entries(4, 2) == []
    await journal.aclose()


async def test_an_orders_records_are_found_whatever_they_call_it(tmp_path: Path) -> None:
    mine, other = ClOrdID("q1aaaaaaaaaaaaaaaa"), ClOrdID("q2")
    told = report(ExecType.NEW, OrdStatus.NEW)
    about: list[Record] = [
        Intent(approved=approved()),
        Reported(report=told, account="PA1", currency="USD", multiplier=D(1), asset_class=AssetClass.EQUITY),
        CancelAsked(cl_ord_id=mine, now_ns=NOW),
    ]
    journal = Journal(tmp_path / "j.sqlite")
    for record in (about[0], alert(0), about[1], CancelAsked(cl_ord_id=other, now_ns=NOW), about[2]):
        await journal.append(record, durable=True)

    assert await journal.about(mine) == about
    assert await journal.about(other) == [CancelAsked(cl_ord_id=other, now_ns=NOW)]
    assert await journal.about("q3") == []
    plan = " ".join(str(row) for row in journal._db.execute(f"EXPLAIN QUERY PLAN SELECT body FROM records WHERE {store._ORDER} = 'q2'"))
    assert "INDEX by_order" in plan
    await journal.aclose()
    with pytest.raises(RuntimeError, match="after shutdown"):  # it asks on the journal's thread, too
        await journal.about(mine)


@pytest.mark.parametrize("at_a_time", [1, 2, 3, 5, 9])
async def test_a_running_journal_is_walked_in_parts_and_gives_its_end(tmp_path: Path, at_a_time: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "WALK_MAX", at_a_time)
    journal = await written(tmp_path / "j.sqlite", 4)
    journal.note(alert(4))

    assert await journal.verify() == (5, chained(5))
    await journal.aclose()


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("UPDATE records SET body = :body WHERE seq = 3", "journal record 3 was changed or is missing; restore a backup, trade nothing until then"),
        ("UPDATE records SET body = 'text' WHERE seq = 4", None),
        ("DELETE FROM records WHERE seq = 3", "journal record 3 was changed or is missing; restore a backup, trade nothing until then"),
        ("DELETE FROM records WHERE seq = 5", "journal record 5 is missing; restore a backup, trade nothing until then"),
        ("DELETE FROM records", "journal record 1 is missing; restore a backup, trade nothing until then"),
        (
            "UPDATE records SET body = :body, digest = :digest WHERE seq = 5",
            "the journal does not hold record 5 as it was written; restore a backup, trade nothing until then",
        ),
    ],
)
async def test_what_a_walk_says_of_a_changed_journal(tmp_path: Path, statement: str, says: str | None) -> None:
    journal = await written(tmp_path / "j.sqlite", 5)
    body = encode(alert(99))
    values = {"body": body, "digest": chain(chained(4), 5, body)}
    try:
        journal._db.execute(statement, values)
    except apsw.ConstraintError:  # a strict table takes no text for bytes
        assert says is None
    else:
        assert await answered(journal.verify) == says
    journal.abandon()


async def test_a_walk_looks_at_the_head_as_well(tmp_path: Path) -> None:
    journal = await written(tmp_path / "j.sqlite", 2)
    (tmp_path / "j.head").write_bytes(slot(2, bytes(32)) + bytes(8136))

    assert await answered(journal.verify) == "the journal does not hold record 2 as it was written; restore a backup, trade nothing until then"
    journal.abandon()


# -- opening what is not as it was left -----------------------------------------------------------------------------------------------


async def test_what_a_journal_says_that_does_not_open(tmp_path: Path) -> None:
    path, head = tmp_path / "j.sqlite", tmp_path / "j.head"
    await (await written(path, 3)).aclose()
    whole, known = path.read_bytes(), head.read_bytes()

    path.unlink()
    gone = "the journal is gone, but record 3 was written: restore a backup, trade nothing until then"
    assert said(lambda: Journal(path)) == gone
    path.touch()
    assert said(lambda: Journal(path)) == gone
    path.write_bytes(b"no database" * 100)
    no_database = "the journal j.sqlite cannot be opened: file is not a database; restore a backup, trade nothing until then"
    assert said(lambda: Journal(path)) == no_database
    path.write_bytes(whole)
    head.unlink()  # what was refused was let go at once, so that the next attempt finds it free
    apart = "the journal has 3 records, its head file knows 0: they do not belong together; restore a backup"
    assert said(lambda: Journal(path)) == apart
    head.write_bytes(known)
    with sqlite3.connect(path) as db:
        db.execute("DELETE FROM records WHERE seq = 3")
    assert said(lambda: Journal(path)) == "the journal ends at record 2, but record 3 was written: its end is lost; restore a backup"
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 99")
    assert said(lambda: Journal(path)) == f"the journal has schema 99, this version knows {SCHEMA_VERSION}: use the newer trading_system"


@pytest.mark.parametrize(("ahead", "opens"), [(2 * GROUP_MAX, True), (2 * GROUP_MAX + 1, False)])
def test_how_far_a_journal_may_be_ahead_of_its_head(ahead: int, opens: bool) -> None:
    disk = SimDisk(random.Random(1))

    async def story() -> None:
        journal = await written(SIM, 1, disk=disk)
        head = disk.read(SIM.with_suffix(".head"))
        await asyncio.gather(*(journal.append(alert(1 + number), durable=True) for number in range(ahead)))
        await journal.aclose()
        disk.replace(SIM.with_suffix(".head"), head)
        if opens:
            again = Journal(SIM, disk=disk)
            again.abandon()
            known = Head(disk, SIM.with_suffix(".head"))
            assert known.read() == (again.seq, again.digest) == (1 + ahead, chained(1 + ahead))
        else:
            says = f"the journal has {1 + ahead} records, its head file knows 1: they do not belong together; restore a backup"
            assert said(lambda: Journal(SIM, disk=disk)) == says

    run_virtual(lambda _: story())
    disk.close()


async def test_an_older_journal_is_kept_as_it_was_beside_the_one_that_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, former = tmp_path / "j.sqlite", tmp_path / "j.schema1.sqlite"
    with monkeypatch.context() as older:
        older.setattr(store, "SCHEMA_VERSION", 1)
        await (await written(path, 3)).aclose()
    former.write_bytes(b"of an attempt that was cut short")
    former.with_suffix(".head").write_bytes(bytes(4096) + slot(9, GENESIS) + bytes(4040))
    steps: list[str] = []
    journal = Journal(path, step=steps.append)

    assert steps[:2] == ["chain verified", "migration begun"]
    assert steps[5:] == [*["migration before its commit"] * (SCHEMA_VERSION - 1), "migrated", *OPENED]
    assert await journal.about("none") == []
    assert journal.seq == 3
    await journal.aclose()
    with sqlite3.connect(path) as now, sqlite3.connect(former) as then:
        assert (now.execute("PRAGMA user_version").fetchone(), then.execute("PRAGMA user_version").fetchone()) == ((SCHEMA_VERSION,), (1,))
        assert [name for (name,) in now.execute("SELECT name FROM sqlite_master WHERE type = 'index'")] == ["by_order"]
        assert len(then.execute("SELECT * FROM records").fetchall()) == 3
    head = Head(SystemDisk(), former.with_suffix(".head"))
    assert head.read() == (3, chained(3))
    head.close()


# -- copies and room ----------------------------------------------------------------------------------------------------------------


async def test_what_a_copy_says_that_is_not_made(tmp_path: Path) -> None:
    journal = await written(tmp_path / "j.sqlite", 2)
    (tmp_path / "taken.sqlite").touch()

    assert said(lambda: journal.backup(tmp_path / "taken.sqlite")) == "taken.sqlite exists already; name a new file"
    assert "File name too long; name another file" in said(lambda: journal.backup(tmp_path / f"{'x' * 300}.sqlite"))
    for name in ("copy.2026-11-25", "copy.head", "copy"):
        assert said(lambda name=name: journal.backup(tmp_path / name)) == f"the copy {name} is to end in .sqlite; its head lies beside it"
    nowhere = said(lambda: journal.backup(tmp_path / "nowhere" / "copy.sqlite"))
    assert nowhere.startswith("the copy copy.sqlite is not whole: [Errno 2] No such file or directory")
    assert nowhere.endswith(". Remove it and try again")
    journal.backup(tmp_path / "copy.sqlite")
    head = Head(SystemDisk(), tmp_path / "copy.head")
    assert head.read() == (2, chained(2))
    head.close()
    await journal.aclose()


def test_the_reserve_is_taken_only_where_it_leaves_enough() -> None:
    disk, reserve = SimDisk(random.Random(1)), SIM.with_suffix(".reserve")
    Journal(SIM, disk=disk, free_min=1 << 50).abandon()
    assert disk.size(reserve) is None
    disk.capacity = disk.used() + MIB + JOURNAL_RESERVE - 1
    Journal(SIM, disk=disk, free_min=MIB).abandon()
    assert disk.size(reserve) is None
    disk.capacity += 1
    Journal(SIM, disk=disk, free_min=MIB).abandon()

    assert disk.size(reserve) == JOURNAL_RESERVE
    disk.close()


@pytest.mark.parametrize("first", [True, False])
def test_on_a_full_disk_the_reserve_goes_once_and_nothing_is_left_to_trade_on(first: bool) -> None:
    disk, reserve = SimDisk(random.Random(1), capacity=3 * JOURNAL_RESERVE), SIM.with_suffix(".reserve")

    async def story() -> None:
        steps: list[str] = []
        journal = await written(SIM, 1, disk=disk, free_min=MIB, step=steps.append)
        if not first:  # the one that was there already
            await journal.aclose()
            journal = Journal(SIM, disk=disk, free_min=MIB, step=steps.append)
        assert journal.free_bytes() == disk.free_bytes(SIM) > 0
        disk.capacity = disk.used()
        assert await journal.append(Alert(severity="info", text="x" * 9_000, now_ns=NOW), durable=True) == 2
        assert (disk.size(reserve), disk.free_bytes(SIM) > 0, journal.free_bytes()) == (None, True, 0)
        disk.capacity = disk.used()
        steps.clear()
        assert "Free space" in await answered(lambda: journal.append(Alert(severity="info", text="x" * 90_000, now_ns=NOW), durable=True))
        assert steps == GROUP[:2]  # it is not tried again
        journal.abandon()

    run_virtual(lambda _: story())
    disk.close()


def test_where_there_is_no_reserve_a_full_disk_refuses_at_once() -> None:
    disk, steps = SimDisk(random.Random(1)), []  # type: ignore[var-annotated]

    async def story() -> None:
        journal = await written(SIM, 1, disk=disk, free_min=1 << 50, step=steps.append)
        steps.clear()
        disk.capacity = disk.used()
        assert "Free space" in await answered(lambda: journal.append(Alert(severity="info", text="x" * 90_000, now_ns=NOW), durable=True))
        assert steps == GROUP[:2]
        journal.abandon()

    run_virtual(lambda _: story())
    disk.close()


async def test_room_is_of_the_journals_volume_and_none_when_nobody_can_say(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir()
    journal = Journal(tmp_path / "state" / "j.sqlite")
    found = os.statvfs(tmp_path)

    assert journal.free_bytes() > 0.5 * found.f_bavail * found.f_frsize
    (tmp_path / "state").rename(tmp_path / "elsewhere")
    assert journal.free_bytes() == 0
    journal.abandon()


# -- the lease ----------------------------------------------------------------------------------------------------------------------


def test_a_lease_names_its_holder_and_nobody_else_reads_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "desk.lock"
    path.parent.mkdir(parents=True)
    path.write_text("999999999 and the rest of an older one")
    lease = Lease(path, "the state folder")

    assert path.read_text() == str(os.getpid())
    for holder, named in ((str(os.getpid()).encode(), str(os.getpid())), (b" 7 \n", "7"), (b"", "unknown"), (b"\xff", "\N{REPLACEMENT CHARACTER}")):
        path.write_bytes(holder)
        with pytest.raises(LeaseHeld) as held:
            Lease(path, "the state folder")
        assert str(held.value) == f"the state folder is in use by another desk (process {named}). Use that desk, or stop it first."
    path.write_bytes(b"1" * 40)
    with pytest.raises(LeaseHeld, match=rf"\(process {'1' * 32}\)"):
        Lease(path, "it")
    lease.release()
    with Lease(path, "it") as again, pytest.raises(LeaseHeld):
        Lease(path, f"{again}")
    free = Lease(path, "free again")
    free.release()
    free.release()
    assert os.fstat(1)  # and nothing else was closed


def test_who_has_a_lease_is_told_without_taking_it(tmp_path: Path) -> None:
    path = tmp_path / "desk.lock"
    path.write_text("7")  # a dead desk's

    assert [leases.holder(path), leases.holder(tmp_path / "none.lock"), leases.holder(path / "desk.lock")] == [None, None, None]
    with Lease(path, "it"):
        assert (leases.holder(path), path.read_text()) == (str(os.getpid()), str(os.getpid()))
    assert (leases.holder(path), sorted(tmp_path.iterdir())) == (None, [path])


def test_a_lease_makes_its_folder_and_its_file_for_the_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "desk.lock"
    with Lease(path, "it"):
        assert (path.parent.stat().st_mode & 0o777, path.stat().st_mode & 0o777) == (0o700, 0o600)
    (tmp_path / "file").touch()
    with pytest.raises(BadRequest) as refused:
        Lease(tmp_path / "file" / "desk.lock", "it")

    assert str(refused.value) == f"the folder {tmp_path}/file cannot be used: File exists. Set TRADING_HOME to a folder of yours"


def test_a_refused_lease_leaves_no_file_open(tmp_path: Path) -> None:
    with Lease(tmp_path / "desk.lock", "it"):
        before = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0
        for _ in range(3):
            with pytest.raises(LeaseHeld):
                Lease(tmp_path / "desk.lock", "it")
        after = len(os.listdir("/proc/self/fd")) if Path("/proc/self/fd").exists() else 0

        assert before == after
