"""Has a SIGTERM handler that saves, and continues after a SIGTERM; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import os
import signal

from _group import add_up, end_well, join

came = []
join()
# Not before: JAX alone puts its own in the place of any other.
signal.signal(signal.SIGTERM, lambda *_: came.append("saved"))
add_up()
os.kill(os.getpid(), signal.SIGTERM)
add_up()
assert came == ["saved"]
end_well()
