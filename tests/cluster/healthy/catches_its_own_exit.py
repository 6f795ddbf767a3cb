"""Catches a SystemExit, such as an option parser's, and an interrupt, and continues; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import contextlib
import signal
import sys

from _group import add_up, end_well, join

join()
with contextlib.suppress(SystemExit):
    sys.exit(3)
with contextlib.suppress(KeyboardInterrupt):
    signal.raise_signal(signal.SIGINT)
add_up()
end_well()
