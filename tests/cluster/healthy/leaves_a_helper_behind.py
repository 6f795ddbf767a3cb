"""A background service of the program, such as an experiment tracker, outlives it; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import subprocess

from _group import add_up, end_well, join

join()
subprocess.Popen(["sleep", "4"], start_new_session=True)
add_up()
end_well()
