"""Prints a caught traceback, then works for 40 s without output; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import traceback

from _group import add_up, end_well, join, work

join()
add_up()
try:
    {}["shard 17"]
except KeyError:
    traceback.print_exc()
work(40)
add_up()
end_well()
