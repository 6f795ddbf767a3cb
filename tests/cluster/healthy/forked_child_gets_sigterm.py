"""Children of os.fork() get a SIGTERM, with the parent's handler and without it; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import os
import signal
import time

from _group import add_up, end_well, join


def end_a_child(is_put_right: bool) -> int:
    child = os.fork()
    if child == 0:
        if is_put_right:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
        time.sleep(3)
        os._exit(0)
    time.sleep(1)
    os.kill(child, signal.SIGTERM)
    return os.waitpid(child, 0)[1]


join()
assert os.WTERMSIG(end_a_child(is_put_right=True)) == signal.SIGTERM
# JAX alone makes its process, and each fork of it, deaf to SIGTERM.
end_a_child(is_put_right=False)
add_up()
end_well()
