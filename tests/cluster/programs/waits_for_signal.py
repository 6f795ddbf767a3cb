"""Leaves a file when it waits, and ends well when it is notified that its time will end; runs as a rank of a job, in the container."""
# SPDX-License-Identifier: Apache-2.0

import signal
import time
from pathlib import Path

from jaxsif import initialize_distributed

signals = []
signal.signal(signal.SIGURG, lambda *_: signals.append(True))
initialize_distributed()
import jax  # noqa: E402  (after the group is there)

jax.devices()
Path(f"waiting-{jax.process_index()}").touch()
while not signals:
    time.sleep(0.1)
print("notified", flush=True)
