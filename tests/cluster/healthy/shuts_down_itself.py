"""Leaves the group by jax.distributed.shutdown() and continues alone; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import jax
from _group import add_up, end_well, join, work

join()
add_up()
jax.distributed.shutdown()
work(5)
end_well()
