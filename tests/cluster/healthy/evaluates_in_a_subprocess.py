"""A second JAX program, alone in a subprocess, evaluates the result of the first; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import subprocess
import sys

from _group import add_up, end_well, join

PROGRAM = "import jax; print(jax.process_count(), jax.numpy.ones(3).sum())"

join()
add_up()
done = subprocess.run([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE)
assert done.stdout == b"1 3.0\n", done
add_up()
end_well()
