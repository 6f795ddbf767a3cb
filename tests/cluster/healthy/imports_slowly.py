"""Reads JAX's libraries from a slow disk for 25 s in the last rank, inside dlopen(), while the others wait; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import ctypes
import sys

from _group import RANK, SCALE, add_up, end_well, join


class SlowDisk:
    """Finds no module; the first time that jaxlib is looked for, it takes long."""

    def find_spec(self, name: str, *_: object) -> None:
        if name == "jaxlib":
            # As dlopen() does, with the interpreter to itself.
            ctypes.PyDLL(None).usleep(int(25e6 * SCALE))


if RANK == 3:
    sys.meta_path.insert(0, SlowDisk())
join()
add_up()
end_well()
