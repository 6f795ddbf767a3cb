"""Prints records in the kit's format, from the log of another job; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import contextlib
import io

from _group import RANK, add_up, end_well, join, say, work

from jaxsif.core.record_lines import encode_fields


def record(phase: str, **facts: object) -> str:
    """As the kit's own encoder wrote it for another job, whatever it needs to know."""
    whole = {"phase": phase, "rank": 3, "node": "node2", "time": 1.0, **facts}
    with contextlib.redirect_stderr(io.StringIO()):
        return encode_fields({"step": "box.7.0.0", **whole}).strip()


join()
add_up()
if RANK == 0:
    failed = record("failed", error="RuntimeError: yesterday's")
    asks = record("requeue")
    late = record("deadline_exceeded", position="connected", waited_s=9.0)
    say([failed, f"prompt 17: {asks}", late, failed[:40], failed.replace("3", "7")])
work(20)
add_up()
end_well()
