"""The journal on the simulated disk: whatever goes wrong at whatever call, what was acknowledged is there afterwards, or it does not open."""

import asyncio
import itertools
import random
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.factories import NOW
from trading_system.domain.errors import JournalError
from trading_system.journal import store
from trading_system.journal.head import Head
from trading_system.journal.record import SCHEMA_VERSION, Alert, Record
from trading_system.journal.store import JOURNAL_RESERVE, Journal
from trading_system.sim.clock import run_virtual
from trading_system.sim.disk import DiskFaults, SimDisk

PATH = Path("state/journal.sqlite")
pytestmark = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # sim/disk.py says why
GROUPS = (1, 1, 2, 1, 3, 64, 1, 1, 5, 1, 1, 2, 2, 2, 1, 70, 1, 1, 1, 1)  # two and two: both slots of the head must still be used in turn


@pytest.fixture(autouse=True)
def _checkpoints_come_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "CHECKPOINT_PAGES", 12)


def alert(number: int) -> Record:
    return Alert(severity="info", text=f"record {number} " + "x" * (number % 7 * 90), now_ns=NOW + number)


async def life(disk: SimDisk, known: int = 0) -> int:
    """A process from its start until the disk fails it. Gives how many records were acknowledged, those of earlier lives included."""
    acknowledged = known
    try:
        journal = Journal(PATH, disk=disk)
        acknowledged = journal.seq
        for size in GROUPS:
            first = acknowledged
            written = await asyncio.gather(*(journal.append(alert(first + number), durable=True) for number in range(size)), return_exceptions=True)
            acknowledged += sum(isinstance(number, int) for number in written)
            if acknowledged < first + size:
                await refuses_from_now_on(journal)
                break
        await journal.aclose()
    except JournalError:
        pass
    return acknowledged


async def refuses_from_now_on(journal: Journal) -> None:
    calls: list[Callable[[], object]] = [
        lambda: journal.note(alert(0)),
        lambda: list(journal.read()),
        lambda: journal.backup(Path("state/copy.sqlite")),
    ]
    for call in calls:
        with pytest.raises(JournalError, match="refused"):
            call()


def found(disk: SimDisk) -> list[Record] | None:
    """The history that opens, or None: it was refused."""
    try:
        journal = Journal(PATH, disk=disk)
    except JournalError:
        return None
    records = [entry.record for entry in journal.read()]
    journal.abandon()
    return records


def broken(kind: str, after: int, faults: DiskFaults, *, cut: bool) -> tuple[int, list[Record] | None, SimDisk]:
    """One life with one misfortune, perhaps a power loss after it, and what is found then."""
    disk = SimDisk(random.Random(f"{kind} {after} {cut}"), faults)
    if after:
        disk.fail(kind, after)
    acknowledged = run_virtual(lambda _: life(disk))
    if cut:
        disk.power_loss()
    disk.capacity = 1 << 40
    records = found(disk)
    disk.close()
    return acknowledged, records, disk


def holds(acknowledged: int, records: list[Record]) -> bool:
    return len(records) >= acknowledged and records == [alert(number) for number in range(len(records))]


CALLS = broken("power", 0, DiskFaults(), cut=False)[2].calls


def test_power_lost_at_any_call_leaves_everything_that_was_acknowledged() -> None:
    """On a disk that keeps its promises the journal opens again, always, and even when the power goes while it opens."""
    hit: Counter[str] = Counter()
    for after in range(1, CALLS + 1):
        acknowledged, records, disk = broken("power", after, DiskFaults(torn=0.6), cut=True)
        hit.update(disk.hit)

        assert records is not None, after
        assert holds(acknowledged, records), after
    assert hit["torn"] > 50


def test_the_names_of_its_files_are_synced_even_where_sqlite_would_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trading_system.sim.disk.FOLDER_SYNCED", 0)
    for after in range(1, CALLS + 1, 5):
        acknowledged, records, _ = broken("power", after, DiskFaults(), cut=True)

        assert records is not None, after
        assert holds(acknowledged, records), after


def test_a_torn_write_that_spoils_its_whole_sector_is_survived_or_noticed() -> None:
    refused = 0
    for after in range(1, CALLS + 1):
        acknowledged, records, _ = broken("power", after, DiskFaults(torn=0.8, power_safe=False), cut=True)
        refused += records is None

        assert records is None or holds(acknowledged, records), after
    assert refused < CALLS / 4


@pytest.mark.parametrize("cut", [False, True])
@pytest.mark.parametrize("kind", ["write", "sync", "full"])
def test_an_error_at_any_call_stops_the_journal_and_loses_nothing(kind: str, cut: bool) -> None:
    opened = 0
    for after in range(1, CALLS + 1):
        acknowledged, records, disk = broken(kind, after, DiskFaults(), cut=cut)
        opened += records is not None

        assert records is None or holds(acknowledged, records), after
        assert kind == "full" or disk.hit[f"{kind}_error"] <= 1
    assert opened > 0.9 * CALLS


@pytest.mark.parametrize("seed", range(40))
def test_crash_after_crash_the_history_only_grows(seed: int) -> None:
    rng = random.Random(seed)
    disk = SimDisk(rng, DiskFaults(write_error=0.002, sync_error=0.002))
    known = 0
    for _ in range(8):
        if rng.random() < 0.7:
            disk.fail("power", rng.randrange(1, CALLS))
        known = run_virtual(lambda _, known=known: life(disk, known))  # type: ignore[misc]
        if rng.random() < 0.7:
            disk.power_loss()
        disk.fail("power", 0)
        records = found(disk)
        if records is None:
            break

        assert holds(known, records)
        known = len(records)
    disk.close()


def test_after_a_failed_sync_the_log_is_left_as_it_lies() -> None:
    disk = SimDisk(random.Random(1), DiskFaults(evicted=0))
    log = Path(f"{PATH}-wal")

    async def story() -> None:
        journal = Journal(PATH, disk=disk)
        await journal.append(alert(0), durable=True)
        disk.fail("sync")
        with pytest.raises(JournalError, match="refused"):
            await journal.append(alert(1), durable=True)
        before = disk.read(log), disk.read(PATH)
        await journal.aclose()

        assert (disk.read(log), disk.read(PATH)) == before
        assert before[0]

    run_virtual(lambda _: story())
    disk.close()


def test_the_disk_does_forget_what_was_not_synced(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted bug that all of this is against: an acknowledgement without a sync."""

    class Forgetful(SimDisk):
        def sync(self, content: object, *, folder: bool = False) -> None:
            return None

    shorter = 0
    for seed in range(20):
        disk = Forgetful(random.Random(seed))
        acknowledged = run_virtual(lambda _, disk=disk: life(disk))  # type: ignore[misc]
        disk.power_loss()
        records = found(disk)
        shorter += records is None or len(records) < acknowledged
        disk.close()

    assert shorter == 20


def test_the_same_seed_is_the_same_disk() -> None:
    def bytes_left() -> list[bytes]:
        disk = SimDisk(random.Random(7), DiskFaults(torn=0.9))
        disk.fail("power", CALLS // 2)
        run_virtual(lambda _: life(disk))
        disk.power_loss()
        left = [disk.read(PATH.with_suffix(suffix))[:64] for suffix in (".sqlite", ".head")]
        disk.close()
        return left

    assert bytes_left() == bytes_left()


def test_a_read_only_disk_opens_no_journal() -> None:
    disk = SimDisk(random.Random(1))
    run_virtual(lambda _: life(disk))
    disk.read_only = True
    with pytest.raises(JournalError, match="read-only"):
        Journal(PATH, disk=disk)
    disk.read_only = False

    assert found(disk) == [alert(number) for number in range(sum(GROUPS))]
    disk.read_only = True
    with pytest.raises(JournalError):
        Journal(Path("state/new.sqlite"), disk=disk)
    disk.close()


def test_a_full_disk_gets_the_reserve_and_a_restart_finds_everything() -> None:
    disk = SimDisk(random.Random(1), capacity=3 * JOURNAL_RESERVE)

    async def story() -> int:
        journal = Journal(PATH, disk=disk, free_min=1 << 20)
        await journal.append(alert(0), durable=True)
        before = journal.free_bytes()
        disk.capacity = disk.used()  # somebody else filled it
        nothing = journal.free_bytes()
        for number in range(1, 300):  # halts, cancels and fills still find room
            await journal.append(alert(number), durable=True)

        assert before >= journal.free_min > nothing == journal.free_bytes() == 0
        assert disk.size(PATH.with_suffix(".reserve")) is None
        disk.capacity = disk.used()  # and even that is gone
        with pytest.raises(JournalError, match="Free space"):
            await asyncio.gather(*(journal.append(alert(300 + number), durable=True) for number in range(64)))
        await journal.aclose()
        return 300

    run_virtual(lambda _: story())
    records = found(disk)

    assert records is not None
    assert holds(300, records)
    disk.capacity = 3 * JOURNAL_RESERVE
    journal = Journal(PATH, disk=disk, free_min=1 << 20)
    assert disk.size(PATH.with_suffix(".reserve")) == JOURNAL_RESERVE
    journal.abandon()
    disk.close()


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_an_older_journal_is_brought_forward_whatever_happens_meanwhile(version: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power lost at any call of the migration: every record is there, under the old schema or the new one; the file as it was stays beside it."""
    wanted = [alert(number) for number in range(sum(GROUPS))]
    for after in itertools.count(1):
        disk = SimDisk(random.Random(after), DiskFaults(torn=0.6))
        with monkeypatch.context() as older:
            older.setattr(store, "SCHEMA_VERSION", version)
            run_virtual(lambda _, disk=disk: life(disk))  # type: ignore[misc]
        before = disk.calls
        disk.fail("power", after)
        whole = found(disk) is not None
        calls = disk.calls - before
        disk.power_loss()

        assert found(disk) == wanted, after
        former = Journal(PATH.with_suffix(f".schema{version}.sqlite"), disk=disk)
        assert [entry.record for entry in former.read()] == wanted
        former.abandon()
        disk.close()
        if whole:
            assert calls > 10
            return


def test_a_spoilt_head_falls_back_by_one_commit_whatever_the_numbers() -> None:
    """By the number's parity, as version 0.1.0 had it, groups of two overwrote the newest slot each time."""
    disk = SimDisk(random.Random(1))
    path = PATH.with_suffix(".head")
    head = Head(disk, path)
    for seq in (2, 4, 6):
        head.write(seq, bytes(32))
    head.close()
    content = disk.read(path)
    place = content.find((6).to_bytes(8, "big") + bytes(32))
    disk.replace(path, content[:place] + bytes(512) + content[place + 512 :])
    again = Head(disk, path)

    assert again.read()[0] == 4
    again.close()
    disk.close()


def test_the_head_of_version_0_1_0_is_read_and_goes_on() -> None:
    """It had both slots in 128 bytes, the second at 64."""
    disk = SimDisk(random.Random(1))
    run_virtual(lambda _: life(disk))
    head = disk.read(PATH.with_suffix(".head"))
    slots = sorted((head[:56], head[4096 : 4096 + 56]), reverse=True)
    for former in (slots[0] + bytes(8) + slots[1] + bytes(8), slots[1] + bytes(8) + slots[0] + bytes(8)):
        disk.replace(PATH.with_suffix(".head"), former)
        records = found(disk)

        assert records is not None
        assert holds(sum(GROUPS), records)
        again = Head(disk, PATH.with_suffix(".head"))
        before = again.read()
        again.write(before[0] + 1, bytes(32))
        again.close()
        newer = Head(disk, PATH.with_suffix(".head"))
        assert newer.read()[0] == before[0] + 1
        newer.close()
    disk.close()
