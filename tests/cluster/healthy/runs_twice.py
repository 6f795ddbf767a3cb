"""Two JAX programs, one after the other in the same step: a training and its evaluation; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import subprocess
import sys

from _group import add_up, end_well, join

if len(sys.argv) == 1:
    for part in ("train", "evaluate"):
        subprocess.run([sys.executable, __file__, part], check=True)
    sys.exit()
join()
add_up()
if sys.argv[1] == "evaluate":
    end_well()
