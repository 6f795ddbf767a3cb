"""`jax-sif packages`: overlays with a user's packages on top of the image."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxsif.core.errors import FAIL, PASS, UsageError
from jaxsif.core.text import plural

_EXAMPLES = """\
  jax-sif packages create my.sqsh flax optax       packages from pip's index
  jax-sif packages create my.sqsh -r mine.txt      a requirements file
  jax-sif packages create my.sqsh --no-index --find-links wheels netket
                                                   without network
  jax-sif job G8N2p8 --packages my.sqsh train.py | sbatch
  jax-python --packages my.sqsh train.py

The image's packages (jax, jaxlib, numpy and so on) are never replaced."""


def main(arguments: Sequence[str]) -> int:
    """Parses the options and runs the subcommand."""
    parser = argparse.ArgumentParser(
        prog="jax-sif packages",
        usage="jax-sif packages create|list|info|freeze|check FILE.sqsh ...",
        description="Adds your packages to the image, as one file that is mounted on"
        " top.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("subcommand", choices=_SUBCOMMANDS, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    subcommand, _ = _SUBCOMMANDS[chosen.subcommand]
    # Options may stand between the packages.
    return subcommand(_parser(chosen.subcommand).parse_intermixed_args(chosen.words))


def _epilog() -> str:
    lines = [f"  {name:<6}  {text}" for name, (_, text) in _SUBCOMMANDS.items()]
    return "\n".join([*lines, "", _EXAMPLES])


def _create(chosen: argparse.Namespace) -> int:
    from jaxsif.overlay.create import create

    pip_args = [*chosen.pip]
    for name in ("find_links", "requirement"):
        for value in getattr(chosen, name):
            pip_args += [f"--{name.replace('_', '-')}", value]
    pip_args += ["--no-index"] if chosen.no_index else []
    if not chosen.packages and not chosen.requirement:
        raise UsageError(
            "jax-sif packages create needs packages, for example: jax-sif packages"
            " create my.sqsh flax optax"
        )
    # A pip option here would change how the packages after it are read.
    for package in chosen.packages:
        if package.startswith("-"):
            raise UsageError(
                f"{package!r} is not a package; for an option of pip: --pip={package}"
            )
    file = chosen.file
    pip_args += ["--", *chosen.packages]
    manifest = create(file, pip_args, is_replaced=chosen.force)
    for package in manifest.packages:
        print(f"  {package.name} {package.version}")
    print(
        f"{file}: {plural(len(manifest.packages), 'package')},"
        f" {file.stat().st_size / 1e6:.1f} MB, on top of {manifest.image.name}"
    )
    print(f"  jax-sif job G8N2p8 --packages {file} train.py | sbatch")
    return PASS


def _list(chosen: argparse.Namespace) -> int:
    from jaxsif.overlay.manifest import read

    packages = read(chosen.file).packages
    width = max(len(package.name) for package in packages)
    for package in packages:
        requested = "  requested" if package.is_requested else ""
        print(f"{package.name:<{width}}  {package.version}{requested}")
    return PASS


def _info(chosen: argparse.Namespace) -> int:
    from jaxsif.overlay.manifest import read

    found = read(chosen.file)
    requested = [f"{p.name} {p.version}" for p in found.packages if p.is_requested]
    rows = {
        "on top of": found.image.name,
        "requested": ", ".join(requested),
        "packages": len(found.packages),
        "size": f"{chosen.file.stat().st_size / 1e6:.1f} MB",
        "digest": found.digest[:16],
    }
    for name, value in rows.items():
        print(f"{name:<9}  {value}")
    return PASS


def _freeze(chosen: argparse.Namespace) -> int:
    from jaxsif.overlay import manifest
    from jaxsif.overlay.manifest import read

    lines = manifest.requirements_lines(read(chosen.file))
    sys.stdout.writelines(f"{line}\n" for line in lines)
    return PASS


def _check(chosen: argparse.Namespace) -> int:
    from jaxsif.overlay.create import read_image
    from jaxsif.overlay.manifest import incompatibilities, read, unmet_requirements

    image = read_image()
    problems = list(
        incompatibilities(read(chosen.file).image, image, is_any_image=chosen.any_image)
    )
    for problem in problems:
        print(f"{chosen.file}: {problem.text}\n  -> {problem.remedy}")
    unmet = unmet_requirements(chosen.file)
    for line in unmet:
        print(f"{chosen.file}: {line}")
    if problems or unmet:
        return FAIL
    print(f"{chosen.file}: fits {image.name}")
    return PASS


_SUBCOMMANDS: dict[str, tuple[Callable[[argparse.Namespace], int], str]] = {
    "create": (_create, "install packages into a new overlay file"),
    "list": (_list, "list the packages in an overlay file"),
    "info": (_info, "show the content of a file, and the image it was created for"),
    "freeze": (_freeze, "print a requirements file that creates the same overlay"),
    "check": (_check, "check that a file fits this image; exit status 0 yes, 1 no"),
}


def _parser(subcommand: str) -> argparse.ArgumentParser:
    _, help_text = _SUBCOMMANDS[subcommand]
    parser = argparse.ArgumentParser(
        prog=f"jax-sif packages {subcommand}",
        description=f"{help_text[0].upper()}{help_text[1:]}.",
        allow_abbrev=False,
    )
    parser.add_argument("file", type=Path, metavar="FILE.sqsh")
    if subcommand == "create":
        _add_create(parser)
    elif subcommand == "check":
        parser.add_argument(
            "--any-image",
            action="store_true",
            help="check only the requirements of the packages",
        )
    return parser


def _add_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "packages",
        nargs="*",
        metavar="PACKAGE",
        help="in pip's format: flax, 'optax>=0.2'",
    )
    parser.add_argument(
        "-r",
        "--requirement",
        action="append",
        default=[],
        metavar="FILE",
        help="a requirements file; may be repeated",
    )
    parser.add_argument(
        "--find-links",
        action="append",
        default=[],
        metavar="FOLDER",
        help="a folder of wheels; may be repeated",
    )
    parser.add_argument(
        "--no-index", action="store_true", help="use only --find-links folders"
    )
    parser.add_argument(
        "--pip",
        action="append",
        default=[],
        metavar="OPTION",
        help="any option of pip install: --pip=--pre; may be repeated",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="replace an existing file",
    )
