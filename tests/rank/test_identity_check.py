"""What distinguishes the ranks of one run from all others."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

from jaxsif.core.slurm_env import Identity


def test_no_two_devices_of_any_step_or_restart_share_a_token():
    runs = [
        Identity(f"box.7.{step}.{restart}", 5, 8, 1, "node2", "node[1-2]")
        for step in range(4)
        for restart in range(2)
    ]

    tokens = [
        run.token(rank, slot) for run in runs for rank in range(64) for slot in range(4)
    ]

    assert len(tokens) == len(set(tokens))
    assert all(0 < token < 2**31 for token in tokens)
