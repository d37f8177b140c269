"""A slice of the damages at every test run (`make prove` does them all), and the swaps that no byte shows."""

import random
from pathlib import Path

import apsw
import pytest

from tests.journal.damage import FILES, LAST, PROOFS, Damage, Specimen, alert, opened, proven, specimen
from trading_system.journal.head import Head
from trading_system.journal.record import encode
from trading_system.journal.store import Journal
from trading_system.sim.disk import SimDisk

WHOLE, CLOSED = specimen(), specimen(closed=True)
HEAD_SLOTS = {"first": 0, "second": 4096}


@pytest.mark.parametrize("number", range(len(PROOFS)), ids=[proof.name for proof in PROOFS])
def test_damage_is_survived_or_refused(number: int) -> None:
    step = 4 if "every bit" in PROOFS[number].name else 31

    assert proven(number, step).total() > 100


def refused(files: dict[str, bytes | None]) -> str:
    found = opened(files)
    assert isinstance(found, str), f"{len(found)} records opened"
    return found


def test_an_older_journal_beside_a_newer_head_is_refused() -> None:
    older = specimen(LAST[:-1], closed=True)

    assert "its end is lost" in refused({**CLOSED.files, "journal": older.files["journal"]})
    assert opened(dict(older.files)) == older.history


def test_an_older_head_beside_a_newer_journal_is_refused_when_no_crash_explains_it() -> None:
    older = specimen((1,), closed=True)
    much_newer = specimen((64, 64, 64), closed=True)

    assert opened({**specimen((1, 1), closed=True).files, "head": older.files["head"]}) == specimen((1, 1)).history
    assert "do not belong together" in refused({**much_newer.files, "head": older.files["head"]})


def test_a_head_that_was_behind_knows_everything_once_the_journal_is_open() -> None:
    disk, older = SimDisk(random.Random(5)), specimen((1,), closed=True)
    for name, content in {**specimen((1, 1), closed=True).files, "head": older.files["head"]}.items():
        disk.replace(FILES[name], content)
    journal = Journal(FILES["journal"], disk=disk)
    journal.abandon()
    head = Head(disk, FILES["head"])

    assert head.read() == (journal.seq, journal.digest)
    head.close()
    disk.close()


def test_a_head_of_another_journal_is_refused() -> None:
    disk = SimDisk(random.Random(4))
    other = Head(disk, FILES["head"])
    other.write(len(WHOLE.history), bytes(32))  # as long, and another history
    other.close()

    assert "its end is lost" in refused({**WHOLE.files, "head": disk.read(FILES["head"])})
    disk.close()


def test_a_missing_log_is_refused_when_records_were_in_it() -> None:
    assert "its end is lost" in refused({**WHOLE.files, "log": None})
    assert opened({**CLOSED.files, "log": None}) == CLOSED.history


def test_a_missing_journal_is_refused_and_its_log_is_kept() -> None:
    for gone in (None, b""):
        assert "the journal is gone" in refused({**WHOLE.files, "journal": gone})


def test_a_missing_head_is_refused() -> None:
    assert "do not belong together" in refused({**CLOSED.files, "head": None})
    assert opened({"journal": None, "log": None, "head": None}) == []


@pytest.mark.parametrize("spoilt", [("first",), ("second",), ("first", "second")])
@pytest.mark.parametrize("kind", ["zeroed", "garbage"])
def test_one_slot_of_the_head_is_enough(spoilt: tuple[str, ...], kind: str) -> None:
    head = WHOLE.files["head"]
    for name in spoilt:
        place = HEAD_SLOTS[name]
        filling = bytes(56) if kind == "zeroed" else random.Random(place).randbytes(56)
        head = head[:place] + filling + head[place + 56 :]
    found = opened({**WHOLE.files, "head": head})

    if len(spoilt) == 1 or kind == "zeroed":  # nothing but zeros is a head that was never written: the chain alone vouches for a short journal
        assert found == WHOLE.history
    else:
        assert "head file is damaged" in str(found)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE records SET body = :body WHERE seq = 30",
        "UPDATE records SET body = :body WHERE seq = 60",
        "UPDATE records SET digest = zeroblob(32) WHERE seq = 17",
        "DELETE FROM records WHERE seq = 30",
        "DELETE FROM records WHERE seq > 58",
        "DELETE FROM records",
        "UPDATE records SET seq = seq + 1000 WHERE seq = 60",
        "INSERT INTO records VALUES (61, :body, zeroblob(32))",
        "DROP TABLE records",
    ],
)
def test_an_edited_journal_is_refused(statement: str) -> None:
    refused({**CLOSED.files, "journal": edited(CLOSED, statement)})


def edited(subject: Specimen, statement: str) -> bytes:
    disk = SimDisk(random.Random(3))
    disk.replace(Path("edited"), subject.files["journal"])
    db = apsw.Connection("edited", vfs=disk.vfs)
    db.execute("PRAGMA locking_mode = EXCLUSIVE")
    db.execute(statement, {"body": encode(alert(99))})
    db.close()
    content = disk.read(Path("edited"))
    disk.close()
    return content


def test_every_file_is_looked_at() -> None:
    assert {damage.file for proof in PROOFS for damage in proof.damages(CLOSED if proof.closed else WHOLE)} == set(FILES)
    assert Damage("log", "cut", 3).done(b"abcdef") == b"abc"
