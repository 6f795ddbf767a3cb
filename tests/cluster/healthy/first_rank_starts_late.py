"""The first rank starts 25 s after the others; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

from _group import RANK, add_up, end_well, join, work

if RANK == 0:
    work(25)
join()
add_up()
end_well()
