"""Ends the ranks when the launcher itself is killed; a small shell beside it, on the machine that launches."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

# A shell, because it is there in a millisecond and stays small.
_PROGRAM = Path(__file__).with_name("guard.sh")


class Guard:
    """Watches over process groups, told to it through its standard input."""

    def __init__(self, grace_s: float) -> None:
        """`grace_s`: between SIGTERM and SIGKILL, when it has to act."""
        self._shell = subprocess.Popen(
            ["/bin/sh", str(_PROGRAM), f"{grace_s:g}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Where no Ctrl-C and no kill of the launcher's group reaches it.
            start_new_session=True,
            bufsize=0,
        )

    def watch(self, group: int) -> None:
        self._tell(f"watch {group}\n")

    def forget(self, group: int) -> None:
        """The group has ended; another may get its number."""
        self._tell(f"forget {group}\n")

    def dismiss(self) -> None:
        """All groups have ended."""
        if self._shell.stdin:
            self._shell.stdin.close()
        self._shell.wait()

    def _tell(self, words: str) -> None:
        # Somebody may have killed the guard; the launch goes on without.
        with contextlib.suppress(BrokenPipeError):
            if self._shell.stdin:
                self._shell.stdin.write(words.encode())
