"""The fault matrix: each fault injected into an unmodified job gives its status, finding and ranks."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import pytest
from fault_runner import FAULTS, run


@pytest.mark.parametrize("name", FAULTS)
def test_the_fault_is_named_and_ends_the_job(cluster, name):
    outcome = run(cluster, name)

    assert [] == outcome.fault.differences(outcome.job), outcome.job.output
    # How soon is measured by `make faults`; JAX alone takes 100 s and more.
    assert outcome.seconds <= max(60, outcome.fault.within_s), outcome.job.output
