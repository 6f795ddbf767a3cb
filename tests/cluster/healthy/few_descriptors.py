"""Has a limit of 64 open files, and most of them open; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import os
import resource

from _group import add_up, end_well, join

join()
add_up()
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
opened = max(map(int, os.listdir("/proc/self/fd")))
resource.setrlimit(resource.RLIMIT_NOFILE, (opened + 2, hard))
add_up()
end_well()
