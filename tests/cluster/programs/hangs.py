"""A user's program of which the last rank hangs as HANG says, and the others do not; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import ctypes
import os
import signal
import time

from fault import mark

from jaxsif import initialize_distributed

initialize_distributed()
import jax  # noqa: E402  (after initialize_distributed, as docs/start.md says)

if jax.process_index() == jax.process_count() - 1:
    hang = os.environ["HANG"]
    mark("fault")
    if hang == "sleep":
        time.sleep(10**6)
    if hang == "ignores_sigterm":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(10**6)
    if hang == "c_call":
        # Keeps the GIL.
        ctypes.PyDLL(None).sleep(10**6)
    while True:
        pass
while True:
    time.sleep(1)
