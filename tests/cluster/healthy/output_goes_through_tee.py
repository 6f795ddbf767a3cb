"""Pipes its output through its own tee, which runs until its end; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import os
import subprocess

from _group import add_up, end_well, join

join()
tee = subprocess.Popen(["tee", os.devnull], stdin=subprocess.PIPE)
os.dup2(tee.stdin.fileno(), 1)
os.dup2(tee.stdin.fileno(), 2)
add_up()
end_well()
