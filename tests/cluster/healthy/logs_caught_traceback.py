"""Logs a caught exception every three seconds for a minute; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import logging

from _group import RANK, add_up, end_well, join, work

join()
add_up()
for shard in range(20):
    try:
        raise KeyError(f"shard {shard}")
    except KeyError:
        if RANK == 1:
            logging.exception("shard %d cannot be read, it is left out", shard)
    work(3)
add_up()
end_well()
