"""Prints failure messages of NCCL, the driver, gloo, JAX and Apptainer from a log that it reads; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

from _group import RANK, add_up, end_well, join, say, work

LINES = """\
node2:4711:4800 [1] NCCL WARN Call to connect returned Connection refused
node2:4711:4800 [1] NCCL WARN NET/IB : Got completion from peer 10.77.1.2 with status=12
NVRM: Xid (PCI:0000:3b:00): 79, pid=4711, GPU has fallen off the bus.
[rank1]: terminate called after throwing an instance of 'gloo::EnforceNotMet'
jax.errors.JaxRuntimeError: UNKNOWN: Gloo context initialization failed
E1129 01:02:03.000000 4711 coordination_service_agent.cc:332] Polled an error
F1129 01:02:03.000000 4711 client.h:80] Terminating process because the JAX
absl::Status: UNAVAILABLE: Failed to send RPC to coordination service.
FATAL:   container creation failed: mount hook function failure
RESOURCE_EXHAUSTED: Out of memory while trying to allocate 17179869184 bytes.
Fatal Python error: Segmentation fault
Bus error (core dumped)
python: malloc.c:2617: sysmalloc: Assertion `(old_top == initial_top)' failed.
Killed
rank 3: task failed, ended by SIGKILL
""".splitlines()

join()
add_up()
if RANK in (0, 3):
    say(LINES)
work(20)
add_up()
end_well()
