"""The first rank writes a checkpoint for 20 s while the others wait for it; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

from _group import RANK, add_up, end_well, join, work

join()
for _ in range(2):
    add_up()
    if RANK == 0:
        work(10)
add_up()
end_well()
