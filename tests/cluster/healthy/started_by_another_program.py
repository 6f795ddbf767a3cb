"""A program that starts the real one by subprocess, as wrappers for experiments do; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import subprocess
import sys

from _group import add_up, end_well, join

if len(sys.argv) == 1:
    sys.exit(subprocess.run([sys.executable, __file__, "real"]).returncode)
join()
add_up()
end_well()
