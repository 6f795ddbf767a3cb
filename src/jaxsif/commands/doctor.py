"""`jax-sif doctor`: its options; runs in the container, on any node."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
from collections.abc import Sequence


def main(arguments: Sequence[str]) -> int:
    """Reads the options and examines the node."""
    parser = argparse.ArgumentParser(
        prog="jax-sif doctor",
        description="Examines this node alone, in or out of a job; its last line says"
        " whether and why to drain it.",
        epilog="Exit status: 0 well, 1 not, 2 wrong usage, 3 could not tell.",
    )
    parser.add_argument(
        "--quick",
        action="store_true",
        help="nothing that takes long: no trial of JAX, of a GPU, of writing",
    )
    parser.add_argument(
        "--strict", action="store_true", help="warnings count as failures"
    )
    parser.add_argument("--json", action="store_true", help="for programs")
    chosen = parser.parse_args(arguments)

    from jaxsif.doctor import doctor

    return doctor(is_quick=chosen.quick, is_strict=chosen.strict, is_json=chosen.json)
