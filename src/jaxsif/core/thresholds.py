"""The ratios to the expected or median speed below which collectives and pairs are slow; runs anywhere."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

# Below the first it is a warning, below the second a failure.
WARN_RATIO, FAIL_RATIO = 0.85, 0.70
