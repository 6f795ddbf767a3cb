"""The command line of jax-sif; runs in the container, on a login node or beside a job."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from jaxsif.contract.errors import KitError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; every error ends here, as one line and an exit status."""
    parsed = _parser().parse_args(arguments)
    try:
        status: int = parsed.run(parsed)
    except KitError as error:
        print(f"jax-sif: {error}", file=sys.stderr)
        return error.exit_status
    except BrokenPipeError:
        # Whoever read our output has gone (`| head`): nobody can be told anything.
        sys.stderr.close()
        return KitError.exit_status
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="jax-sif", description="JAX on a GPU cluster, and proof that it works."
    )
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_verify(commands)
    _add_explain(commands)
    _add_info(commands)
    _add_doctor(commands)
    return parser


def _add_verify(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "verify",
        help="judge a job's output",
        description="Shows a job's output as it comes and ends with a verdict.",
        epilog="Exit status: 0 pass, 1 fail, 2 wrong usage, 3 could not tell.",
    )
    command.add_argument(
        "log", nargs="?", default="-", help="a job's output; standard input by default"
    )
    command.add_argument(
        "--topology",
        metavar="G8N2p4",
        help="devices, nodes and processes in all; $JAX_SIF_TOPOLOGY by default",
    )
    command.add_argument(
        "--json", type=Path, metavar="FILE", help="write the verdict for programs too"
    )
    command.set_defaults(run=_verify)


def _add_explain(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "explain",
        help="name the cause of a failure from any job's output",
        description="Names the causes of a failure from the output of a job, also of one"
        " that never used jax-sif.",
        epilog="Exit status: 0 recognised, 2 wrong usage, 3 not recognised.",
    )
    command.add_argument(
        "log", nargs="+", help="outputs of one job; - for standard input"
    )
    command.add_argument("--json", action="store_true", help="for programs")
    command.set_defaults(run=_explain)


def _add_info(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser("info", help="show what the image holds")
    command.add_argument("--json", action="store_true", help="for programs")
    command.set_defaults(run=_info)


def _add_doctor(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    command = commands.add_parser(
        "doctor",
        help="examine this node",
        description="Examines this node alone, in or out of a job; its last line says"
        " whether and why to drain it.",
        epilog="Exit status: 0 well, 1 not, 2 wrong usage, 3 could not tell.",
    )
    command.add_argument(
        "--quick",
        action="store_true",
        help="nothing that takes long: no trial of JAX, of a GPU, of writing",
    )
    command.add_argument(
        "--strict", action="store_true", help="warnings count as failures"
    )
    command.add_argument("--json", action="store_true", help="for programs")
    command.set_defaults(run=_doctor)


def _verify(arguments: argparse.Namespace) -> int:
    from jaxsif.verify import verify

    return verify(arguments.log, arguments.topology, arguments.json)


def _explain(arguments: argparse.Namespace) -> int:
    from jaxsif.explain import explain

    return explain(arguments.log, arguments.json)


def _info(arguments: argparse.Namespace) -> int:
    from jaxsif import image

    facts = image.describe()
    if arguments.json:
        print(json.dumps(facts, indent=1))
        return 0
    rows = {**facts, **facts.get("versions", {})}
    rows.pop("versions", None)
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"{name:<{width}}  {value}")
    return 0


def _doctor(arguments: argparse.Namespace) -> int:
    from jaxsif.doctor import doctor

    return doctor(
        is_quick=arguments.quick,
        is_strict=arguments.strict,
        is_json=arguments.json,
    )
