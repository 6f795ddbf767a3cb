"""The step has fewer processes than requested."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault

FAULT = Fault(
    says=("the job has 6 processes", "asks for 8"),
    options=("--ntasks-per-node=3",),
    has_baseline=False,
)
