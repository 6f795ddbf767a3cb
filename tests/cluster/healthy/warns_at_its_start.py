"""Prints a caught traceback before it joins its group, like libraries without an optional dependency; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import traceback

from _group import add_up, end_well, join, work

try:
    import no_such_module  # noqa: F401  (its absence is what is tried)
except ImportError:
    traceback.print_exc()
work(5)
join()
add_up()
end_well()
