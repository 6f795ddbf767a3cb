"""Prints ten megabytes of lines; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

from _group import RANK, add_up, end_well, join

join()
if RANK == 0:
    for step in range(100_000):
        print(
            f"step {step}: loss 0.693147, accuracy 0.500000, and so on, until the end, which is here"
        )
add_up()
end_well()
