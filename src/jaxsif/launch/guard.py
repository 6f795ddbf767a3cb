"""Ends the ranks if the launcher is killed: a shell process beside the launcher."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

# A shell, because it starts in a millisecond and needs little memory.
_PROGRAM = Path(__file__).with_name("guard.sh")


class Guard:
    """Watches process groups, which it receives through its standard input."""

    def __init__(self, grace_s: float) -> None:
        """`grace_s`: time between SIGTERM and SIGKILL."""
        self._shell = subprocess.Popen(
            ["/bin/sh", str(_PROGRAM), f"{grace_s:g}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # Ctrl-C and a kill of the launcher's process group must not reach it.
            start_new_session=True,
            bufsize=0,
        )

    def watch(self, group: int) -> None:
        self._send(f"watch {group}\n")

    def forget(self, group: int) -> None:
        """The group has ended, and its id may be reused."""
        self._send(f"forget {group}\n")

    def close(self) -> None:
        """Ends the guard, after all groups have ended."""
        if self._shell.stdin:
            self._shell.stdin.close()
        self._shell.wait()

    def _send(self, line: str) -> None:
        # If the guard was killed, the launch continues without it.
        with contextlib.suppress(BrokenPipeError):
            if self._shell.stdin:
                self._shell.stdin.write(line.encode())
