"""Tasks of a thread pool call sys.exit(0) and sys.exit(3), which has no effect; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import sys
from concurrent.futures import ThreadPoolExecutor

from _group import add_up, end_well, join

join()
with ThreadPoolExecutor(2) as pool:
    for status in (0, 3):
        assert isinstance(pool.submit(sys.exit, status).exception(), SystemExit)
add_up()
end_well()
