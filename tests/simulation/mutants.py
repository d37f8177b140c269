"""Planted bugs: each patch in mutants/ is put into a copy of src/, and hunted by seeds until a violation shows.

A patch is a unified diff whose first line says what bug it plants; the next ones may say which faults and actions the hunt is tilted to, where a bug
shows in few seeds only, and the layers to hunt in, where its paths do not tell. Its hunks are found by their text, not by line numbers, so that they
survive code that moves; a hunk that is not there, or there twice, is an error: `python -m tests.simulation.mutants --refresh COMMIT` writes such a
patch anew, by merging what it did to the source of that commit into today's. `--hunt core,stack` (or `--hunt kraken`) is what runs inside the copy.
"""

import argparse
import difflib
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from tests.simulation.cases import Case, run
from tests.simulation.exchanges import EXCHANGES

ROOT = Path(__file__).parents[2]
PATCHES = sorted(Path(__file__).with_name("mutants").glob("*.patch"))
CORE_MAX = 3000  # seeds of each layer before a mutant counts as not caught
STACK_MAX = 1500  # and of each exchange's
WITHIN_S = 240  # of the processor's time, so that a busy machine lets no bug go
WALL_MAX = 5  # times that, by the clock


class Hunk(msgspec.Struct, frozen=True):
    """So many lines of one file, before and after."""

    path: str
    before: str
    after: str


class Caught(msgspec.Struct, frozen=True, kw_only=True):
    """What became of one mutant. case: "core 17", or "" when nobody caught it."""

    name: str
    bug: str
    case: str
    seeds: int
    violation: str


def bug_of(patch: Path) -> str:
    return patch.read_text().splitlines()[0].removeprefix("#").strip()


def tilt_of(patch: Path) -> frozenset[str]:
    return frozenset(_said(patch, "tilt"))


def _said(patch: Path, what: str) -> tuple[str, ...]:
    """What a line at its beginning names, after what it is."""
    start = f"# {what}: "
    found = (line.removeprefix(start).split(",") for line in patch.read_text().splitlines()[1:3] if line.startswith(start))
    return tuple(next(found, ()))


def read_patch(patch: Path) -> list[Hunk]:
    """Raises ValueError: not a unified diff."""
    hunks: list[Hunk] = []
    path, before, after = "", [], []

    def end() -> None:
        if before or after:
            hunks.append(Hunk(path, "\n".join(before) + "\n", "\n".join(after) + "\n"))
        before.clear()
        after.clear()

    for line in patch.read_text().splitlines():
        if line.startswith("#"):
            continue
        if line.startswith("+++ "):
            end()
            path = line.removeprefix("+++ ").removeprefix("b/").split("\t")[0]
        elif line.startswith(("--- ", "@@")):
            end()
        elif line[:1] in (" ", "-", "+", ""):
            if line[:1] != "+":
                before.append(line[1:])
            if line[:1] != "-":
                after.append(line[1:])
        else:
            raise ValueError(f"{patch.name}: {line!r} is no line of a diff")
    end()
    return hunks


def plant(patch: Path, copy: Path) -> None:
    """Put a patch into a copy of the tree. Raises ValueError: a hunk's text is not there exactly once."""
    for hunk in read_patch(patch):
        target = copy / hunk.path
        text = target.read_text()
        if text.count(hunk.before) != 1:
            raise ValueError(f"{patch.name}: its text is {text.count(hunk.before)} times in {hunk.path}; write the patch anew")
        target.write_text(text.replace(hunk.before, hunk.after))


def refresh(commit: str) -> list[str]:
    """Write every patch anew that fitted the source of `commit` and does not fit today's. Gives the names of those that a person must mend."""
    left = []
    for patch in PATCHES:
        hunks = read_patch(patch)
        today = {hunk.path: (ROOT / hunk.path).read_text() for hunk in hunks}
        if all(today[hunk.path].count(hunk.before) == 1 for hunk in hunks):
            continue
        comments = [line for line in patch.read_text().splitlines() if line.startswith("#")]
        lines, whole = comments, True
        for path, text in today.items():
            then = subprocess.run(["git", "show", f"{commit}:{path}"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
            planted = then
            for hunk in hunks:
                planted = planted.replace(hunk.before, hunk.after) if hunk.path == path else planted
            merged, clean = _merged(text, then, planted)
            whole = whole and clean and merged != text
            diff = difflib.unified_diff(text.splitlines(), merged.splitlines(), f"a/{path}", f"b/{path}", lineterm="")
            lines = [*lines, *diff]
        if whole:
            patch.write_text("\n".join(lines) + "\n")
        else:
            left.append(patch.stem)
    return left


def _merged(ours: str, base: str, theirs: str) -> tuple[str, bool]:
    with tempfile.TemporaryDirectory() as folder:
        names = [Path(folder, name) for name in ("ours", "base", "theirs")]
        for name, text in zip(names, (ours, base, theirs), strict=True):
            name.write_text(text)
        done = subprocess.run(["git", "merge-file", "-p", *map(str, names)], capture_output=True, text=True, check=False)
    return done.stdout, done.returncode == 0


def layers_of(patch: Path) -> tuple[str, ...]:
    """A bug in an exchange's folder shows on that exchange only, one in another broker's in the full stack, and so does one about stops: venues in
    memory take none."""
    paths = [hunk.path for hunk in read_patch(patch)]
    own = _said(patch, "layers") or tuple(layer for layer in EXCHANGES if any(f"/brokers/{layer}/" in path for path in paths))
    return own or (("stack",) if any("/brokers/" in path or "/protect" in path for path in paths) else ("core", "stack"))


def hunt(patch: Path) -> Caught:
    """Plant one bug in a copy and run seeds in a fresh process until one shows it."""
    folder = Path(tempfile.mkdtemp(prefix="mutant"))
    try:
        shutil.copytree(ROOT / "src", folder / "src", ignore=shutil.ignore_patterns("__pycache__"))
        plant(patch, folder)
        command = [sys.executable, "-m", "tests.simulation.mutants", "--hunt", ",".join(layers_of(patch)), "--tilt", ",".join(sorted(tilt_of(patch)))]
        environment = os.environ | {"PYTHONPATH": str(folder / "src"), "PYTHONDONTWRITEBYTECODE": "1"}
        try:
            done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=WALL_MAX * WITHIN_S, check=False)
            lines = [line for line in done.stdout.splitlines() if line.startswith("HUNT ")]
            failed = f"not within {WITHIN_S} s" if done.returncode == -signal.SIGXCPU else f"the hunt itself failed: {done.stderr[-300:]}"
            found = lines[-1].split(" ", 4) if lines else ["HUNT", "0", "", "", failed]
        except subprocess.TimeoutExpired:
            found = ["HUNT", "0", "", "", f"not within {WALL_MAX * WITHIN_S} s by the clock"]
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    _, seeds, layer, seed, violation = found
    caught = Caught(name=patch.stem, bug=bug_of(patch), case=f"{layer} {seed}".strip("- "), seeds=int(seeds), violation=violation)
    if caught.case and (control := run(Case(layer=layer, seed=int(seed), tilt=tilt_of(patch))).violations):
        return msgspec.structs.replace(caught, case="", violation=f"{caught.case} fails without the bug too: {control[0]}")
    return caught


def _hunted(layers: tuple[str, ...], tilt: frozenset[str]) -> str:
    """Seeds of the layers in turn: a few of each first, then all of the first, then all of the next."""
    count = 0
    first = 30
    ranges = [(layer, range(1, first)) for layer in layers]
    ranges += [(layer, range(first, CORE_MAX if layer == "core" else STACK_MAX)) for layer in layers]
    for layer, seeds in ranges:
        for seed in seeds:
            count += 1
            violations = run(Case(layer=layer, seed=seed, tilt=tilt)).violations
            if violations:
                return f"HUNT {count} {layer} {seed} {violations[0][:160]}"
    return f"HUNT {count} - - not caught"


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--hunt", default="")
    parser.add_argument("--tilt", default="")
    parser.add_argument("--refresh", metavar="COMMIT")
    parser.add_argument("names", nargs="*")
    arguments = parser.parse_args()
    if arguments.refresh:
        left = refresh(arguments.refresh)
        print(f"to be mended by hand: {left}" if left else "every patch fits")
        return 1 if left else 0
    if arguments.hunt:
        resource.setrlimit(resource.RLIMIT_CPU, (WITHIN_S, WITHIN_S + 5))
        tilt = frozenset(name for name in arguments.tilt.split(",") if name)
        print(_hunted(tuple(arguments.hunt.split(",")), tilt), flush=True)
        return 0
    missed = 0
    for patch in PATCHES:
        if not arguments.names or patch.stem in arguments.names:
            caught = hunt(patch)
            missed += not caught.case
            print(f"{caught.name:45} {caught.seeds:6} seeds  {caught.case:12} {caught.violation}", flush=True)
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
