"""The program of JAX's tutorial: each node's processes use a localhost address as coordinator; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

from _group import LOCAL_RANK, add_up, end_well, join

join(coordinator_address="localhost:10000", num_processes=2, process_id=LOCAL_RANK)
add_up(processes=2)
end_well()
