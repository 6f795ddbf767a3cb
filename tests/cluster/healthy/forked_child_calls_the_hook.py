"""A child of os.fork() raises and calls sys.excepthook, as Python does, and its parent continues; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import os
import sys

from _group import add_up, end_well, join, work

join()
child = os.fork()
if child == 0:
    try:
        raise RuntimeError("only the child has this trouble")
    except RuntimeError as error:
        sys.excepthook(type(error), error, error.__traceback__)
    finally:
        os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
work(5)
add_up()
end_well()
