"""One rank's disk is full when it writes."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault, at_point

FAULT = Fault(kind="program-failed", ranks=(5,), says=("No space left on device",))


def write_to_a_full_disk():
    with open("/dev/full", "w") as file:
        file.write("result")


def in_rank(rank):
    if rank == 5:
        at_point("after connected", write_to_a_full_disk)
