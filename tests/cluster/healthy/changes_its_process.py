"""Changes its directory, session and environment, and closes its standard input; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import os
import tempfile

from _group import add_up, end_well, join

os.close(0)
join()
with tempfile.TemporaryDirectory() as folder:
    os.chdir(folder)
if os.getpgrp() != os.getpid():
    os.setsid()
os.umask(0o777)
os.environ.clear()
add_up()
end_well()
