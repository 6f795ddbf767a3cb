"""Works for 20 s in an atexit function; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import atexit

from _group import add_up, end_well, join, work


def save() -> None:
    work(20)
    end_well()


atexit.register(save)
join()
add_up()
