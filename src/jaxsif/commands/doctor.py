"""`jax-sif doctor`: its options."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Parses the options and checks the node."""
    parser = argparse.ArgumentParser(
        prog="jax-sif doctor",
        description="Checks this node, inside or outside a job. The last line says"
        " whether and why to drain it.",
        epilog="Exit status: 0 healthy, 1 not healthy, 2 usage error, 3 unknown.",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="skip slow checks (importing JAX, computing on a GPU, writing files)",
    )
    parser.add_argument(
        "--strict", action="store_true", help="warnings count as failures"
    )
    parser.add_argument(
        "--format", choices=("text", "json"), default="text", help="default: text"
    )
    chosen = parser.parse_args(arguments)

    from jaxsif.doctor import doctor

    return doctor(
        is_quick=chosen.quick, is_strict=chosen.strict, is_json=chosen.format == "json"
    )
