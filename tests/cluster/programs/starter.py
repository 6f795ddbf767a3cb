"""Starts processes within a task, as torchrun does: ADDRESS PROCESSES FIRST COUNT, each gets its number; knows nothing of this kit."""
# SPDX-License-Identifier: Apache-2.0

import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).with_name("own_coordinator.py")

address, processes, first, count = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
children = [
    subprocess.Popen([sys.executable, PROGRAM, address, processes, str(number)])
    for number in range(first, first + count)
]
sys.exit(max([child.wait() for child in children]))
