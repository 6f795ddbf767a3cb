"""The last rank sends one wrong element in every collective; in a diagnostic's place."""
# SPDX-License-Identifier: Apache-2.0

import sys

from faults import IS_LAST, at_point, run_diagnostic


def spoil_collectives():
    """From here on the last element that this rank sends is one too large."""
    from jax import lax

    def spoiled(collective):
        def send(x, *arguments):
            # Not what has more dimensions, by which the ranks agree on the sizes.
            return collective(x.at[-1].add(1) if x.ndim == 1 else x, *arguments)

        return send

    lax.psum, lax.ppermute = spoiled(lax.psum), spoiled(lax.ppermute)


if IS_LAST:
    at_point("after identity", spoil_collectives, is_fault=False)
run_diagnostic(sys.argv[0])
