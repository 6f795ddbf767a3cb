"""A C function holds Python's interpreter lock for 15 s; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import ctypes

from _group import RANK, SCALE, add_up, end_well, join

join()
add_up()
if RANK == 1:
    ctypes.PyDLL(None).usleep(int(15e6 * SCALE))
add_up()
end_well()
