"""A user's program of three lines and a sum; FAULT says what its last rank does instead; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import os
import signal
import sys
import time

from jaxsif import initialize_distributed

initialize_distributed()
import jax  # noqa: E402  (after initialize_distributed, as docs/start.md says)
import numpy as np  # noqa: E402  (as above)
from jax.experimental import multihost_utils  # noqa: E402  (as above)

if jax.process_index() == jax.process_count() - 1:
    fault = os.environ.get("FAULT")
    if fault == "raises":
        raise RuntimeError("no such data set")
    if fault == "exits":
        sys.exit(5)
    if fault == "terminated":
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(60)
total = multihost_utils.process_allgather(np.ones(1)).sum()
print(f"rank {jax.process_index()}: {total:g}", flush=True)
