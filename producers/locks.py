"""Locks between the processes of a home, which nobody waits for: a process may have been stopped while it held one."""

from __future__ import annotations

import fcntl
import time

#: How long a lock is tried for, s, and the pause between two tries.
LOCK_SECONDS, PAUSE_SECONDS = 0.005, 0.0002


def locked(file: int, how: int) -> bool:
    """Take a lock on an open file, unless others keep it for longer than `LOCK_SECONDS`.

    Args:
        how: fcntl.LOCK_EX or fcntl.LOCK_SH.

    Raises:
        OSError: the file can't be locked.
    """
    end = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                return False
            time.sleep(PAUSE_SECONDS)
        else:
            return True
