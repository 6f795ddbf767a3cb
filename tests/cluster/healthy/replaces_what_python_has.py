"""Replaces sys.stdout, sys.excepthook, sys.exit and all handlers of signals; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import io
import signal
import sys

from _group import add_up, end_well, join


class Tee(io.TextIOBase):
    def __init__(self, *files) -> None:
        self._files = files

    def write(self, text: str) -> int:
        for file in self._files:
            file.write(text)
        return len(text)


join()
sys.stdout = sys.stderr = Tee(sys.__stdout__, io.StringIO())
sys.excepthook = lambda *_: None
sys.exit = lambda status=None: None
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1):
    signal.signal(number, lambda *_: print("a signal came"))
signal.raise_signal(signal.SIGUSR1)
signal.raise_signal(signal.SIGTERM)
add_up()
end_well()
