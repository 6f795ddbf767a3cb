"""The first rank writes its results for 20 s while all others have ended; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

from _group import RANK, add_up, end_well, join, work

join()
add_up()
if RANK == 0:
    work(20)
end_well()
