"""A healthy program that does not use the kit, and prints what looks like failures: exceptions it has caught, lines of srun and of other jobs."""
# SPDX-License-Identifier: Apache-2.0

import logging
import sys
import time

from jaxsif.core.record_lines import encode_fields

ANOTHER = {
    "phase": "failed",
    "rank": 1,
    "step": "box.7.0.0",
    "node": "node1",
    "time": 1.0,
    "error": "boom",
}

for _ in range(int(sys.argv[1])):
    try:
        {}["shard 17"]
    except KeyError:
        logging.exception("shard 17 cannot be read, it is left out")
        sys.excepthook(*sys.exc_info())
    for stream in (sys.stdout, sys.stderr):
        print("srun: error: node2: task 3: Exited with exit code 1", file=stream)
        print("NVRM: Xid (PCI:0002:00:00): 79, GPU has fallen off the bus", file=stream)
        print(encode_fields(ANOTHER, "0badcafe"), end="", file=stream, flush=True)
    time.sleep(3)
print("trained", flush=True)
