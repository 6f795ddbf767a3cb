"""Its commands fail with a traceback, a status or a signal, and the program continues; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import subprocess
import sys

from _group import add_up, end_well, join, work

join()
program = "raise OSError('no such data set')"
assert subprocess.run([sys.executable, "-c", program]).returncode == 1
assert subprocess.run(["sh", "-c", "echo failed >&2; exit 7"]).returncode == 7
assert subprocess.run(["sh", "-c", "kill -KILL $$"]).returncode == -9
assert subprocess.run(["sh", "-c", "kill -SEGV $$"]).returncode == -11
work(5)
add_up()
end_well()
