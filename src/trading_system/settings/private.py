"""Files that are nobody else's to read: tokens, settings, what could not be told."""

import os
from collections.abc import Callable
from pathlib import Path


def put_private(path: Path, body: bytes, judge: Callable[[Path], object] = lambda _: None) -> None:
    """The whole file or the one before, on disk when this returns, and 0600 from its first moment on. Raises OSError.

    judge: looks at the new one beforehand, and raises where it is not to take the other's place.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_name(f"{path.name}.{os.getpid()}")  # another process may write it, too
    beside.unlink(missing_ok=True)
    try:
        with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        judge(beside)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)
