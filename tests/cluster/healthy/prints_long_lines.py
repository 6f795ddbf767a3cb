"""Prints lines of a megabyte, and an unfinished one; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

from _group import RANK, add_up, end_well, join

join()
if RANK < 2:
    print("x" * (1 << 20), flush=True)
    print("." * (1 << 20), end="", flush=True)
add_up()
end_well()
