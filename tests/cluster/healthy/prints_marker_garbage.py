"""Prints the beginning of a record that is none; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

from _group import RANK, add_up, end_well, join, say

from jaxsif.core.record_lines import MARKER

GARBAGE = [
    MARKER,
    MARKER.strip(),
    f"{MARKER}zzzz {{}}",
    f"{MARKER}00000000 {{",
    f"{MARKER}00000000 null",
    f"{MARKER}00000000 00000000 {{}}",
    f"{MARKER}00000000 launcher srun: error: node2: task 3: Killed",
    f"{MARKER}{'f' * 9000}",
    MARKER * 2000,
    "@jaxsif9 00000000 {}",
]

join()
add_up()
if RANK == 0:
    say(GARBAGE)
    print(f"a line that is not ended: {MARKER}", end="", flush=True)
add_up()
end_well()
