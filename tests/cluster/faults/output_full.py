"""The disk of the job's output is full."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault

FAULT = Fault(says=(), options=("--output=/dev/full",), has_baseline=False)
