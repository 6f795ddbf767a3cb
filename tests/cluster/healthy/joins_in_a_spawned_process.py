"""The group is joined by a spawned process, while its parent only waits; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import multiprocessing

from _group import add_up, end_well, join


def train() -> None:
    join()
    add_up()
    end_well()


if __name__ == "__main__":
    child = multiprocessing.get_context("spawn").Process(target=train)
    child.start()
    child.join()
    assert child.exitcode == 0
