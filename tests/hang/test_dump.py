"""The stack of a rank that runs no Python, as faulthandler writes it."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.hang.observer import parse_dump

DUMP = """Current thread 0x00007f6c0b7fe6c0 [jax-sif-hang] (most recent call first):
  File "/opt/kit/hang/in_rank.py", line 60 in _run

Thread 0x00007f6c13da2740 [python] (most recent call first):
  File "/home/me/my, line 3/train.py", line 9 in step
  File "train.py", line 42 in <module>
"""


def test_the_main_thread_is_the_last_one():
    main = ("/home/me/my, line 3/train.py:9 in step", "train.py:42 in <module>")

    assert main == parse_dump(DUMP)
    assert ("train.py:42 in <module>",) == parse_dump(DUMP[-40:])
