"""A program that sets variables and executes itself again; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import os
import sys

from _group import add_up, end_well, join

if "TF_CPP_MIN_LOG_LEVEL" not in os.environ:
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "1"
    os.execv(sys.executable, [sys.executable, *sys.argv])
join()
add_up()
end_well()
