"""Who a rank is, by the launcher's variables."""
# SPDX-License-Identifier: Apache-2.0

import pytest

from jaxsif.contract.errors import UsageError
from jaxsif.contract.identity import Identity, identify

STEP = {
    "SLURM_CLUSTER_NAME": "box",
    "SLURM_JOB_ID": "7",
    "SLURM_STEP_ID": "1",
    "SLURM_PROCID": "5",
    "SLURM_NTASKS": "8",
    "SLURM_LOCALID": "1",
    "SLURM_STEP_NODELIST": "node[1-2]",
    "SLURMD_NODENAME": "node2",
}


def test_a_task_of_a_step_knows_its_place():
    expected = Identity("box.7.1.0", 5, 8, 1, "node2", "node[1-2]")

    assert expected == identify(STEP, "ignored")


def test_a_restart_is_another_run():
    restarted = identify({**STEP, "SLURM_RESTART_COUNT": "2"}, "ignored")

    assert restarted.step == "box.7.1.2"


def test_without_a_step_the_program_is_alone():
    batch = {name: STEP[name] for name in ("SLURM_JOB_ID", "SLURM_NTASKS")}

    assert Identity("local.0.0.0", 0, 1, 0, "laptop", "laptop") == identify(
        batch, "laptop"
    )


@pytest.mark.parametrize("value", ["", "x", "-1", "1.5"])
def test_a_rank_that_is_no_number_is_named(value):
    with pytest.raises(UsageError, match="SLURM_PROCID is"):
        identify({**STEP, "SLURM_PROCID": value}, "ignored")


def test_no_two_devices_of_any_step_or_restart_share_a_token():
    runs = [
        identify({**STEP, "SLURM_STEP_ID": step, "SLURM_RESTART_COUNT": restart}, "")
        for step in "0123"
        for restart in "01"
    ]

    tokens = [
        run.token(rank, slot) for run in runs for rank in range(64) for slot in range(4)
    ]

    assert len(tokens) == len(set(tokens))
    assert all(0 < token < 2**31 for token in tokens)
