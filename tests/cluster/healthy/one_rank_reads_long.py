"""The last rank reads its data for 25 s while the others wait in a sum; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

from _group import RANK, add_up, end_well, join, work

join()
add_up()
if RANK == 3:
    work(25)
add_up()
end_well()
