"""Its standard output is non-blocking, as an earlier program may leave it; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import fcntl
import os
import time

from _group import add_up, end_well, join

flags = fcntl.fcntl(1, fcntl.F_GETFL)
fcntl.fcntl(1, fcntl.F_SETFL, flags | os.O_NONBLOCK)
try:
    for _ in range(200):
        os.write(1, b"x" * 4000 + b"\n")
except BlockingIOError:
    pass
join()
add_up()
time.sleep(1)
fcntl.fcntl(1, fcntl.F_SETFL, flags)
add_up()
end_well()
