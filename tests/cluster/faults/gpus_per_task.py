"""--gpus-per-task, with which JAX alone finds no device: no fault with the image's entry."""
# SPDX-License-Identifier: Apache-2.0

from fault import PASSES, Fault

FAULT = Fault(says=PASSES, status=0, options=("--gpus-per-task=1",), has_baseline=False)
