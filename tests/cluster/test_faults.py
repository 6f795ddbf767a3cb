"""The fault matrix: each fault injected for real into an unmodified job; status, cause, rank and node are as they should be."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from fault_runner import FAULTS, run

pytestmark = pytest.mark.cluster


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_named_and_ends_the_job(cluster, name):
    outcome = run(cluster, name)
    fault = outcome.fault

    assert fault.status == outcome.job.status, outcome.job.output
    assert [] == [s for s in fault.says if s not in outcome.job.verdict], (
        outcome.job.output
    )
    # How soon is measured by `make faults`; JAX alone takes 100 s and more.
    assert outcome.seconds <= max(60, fault.within_s), outcome.job.output
