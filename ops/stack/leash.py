"""Run a command that ends when the process that started it does: `leash.py SIGNAL PARENT COMMAND [ARGUMENT]...`

Linux sends a process the signal named by PR_SET_PDEATHSIG (prctl(2)) when the *thread* that started it ends, whatever
ended it, SIGKILL included; exec keeps the setting. It is set here, in a process of its own, because Python code between
fork and exec (`preexec_fn`) may deadlock in a program with threads. Elsewhere than on Linux the command runs without
it, and what a killed supervisor leaves behind keeps the home's lock, so that nothing is started twice. The processes of
a Celery worker's pool do the same for themselves, with SIGKILL.
"""

from __future__ import annotations

import ctypes
import os
import sys

#: From <linux/prctl.h>.
PR_SET_PDEATHSIG = 1


def main() -> None:
    death_signal, parent, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, death_signal, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
        if os.getppid() != parent:
            sys.exit("the supervisor ended before this process began")
    os.execv(command[0], command)  # noqa: S606 -- no shell is meant


if __name__ == "__main__":
    main()
