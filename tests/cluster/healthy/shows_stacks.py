"""Prints the stacks of its threads every three seconds, as for finding slow code; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import faulthandler

from _group import add_up, end_well, join, work

join()
faulthandler.enable()
faulthandler.dump_traceback_later(3, repeat=True)
add_up()
work(15)
faulthandler.cancel_dump_traceback_later()
add_up()
end_well()
