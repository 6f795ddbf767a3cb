"""`jax-sif env`: a user's own packages on top of the image; runs in the container, on a login node."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from jaxsif.core.errors import FAIL, PASS, UsageError

_EXAMPLES = """\
  jax-sif env create my.sqsh flax optax       packages of the index that pip knows
  jax-sif env create my.sqsh -r mine.txt      a requirements file
  jax-sif env create my.sqsh --no-index --find-links wheels netket      without network
  jax-sif job G8N2p8 --env my.sqsh train.py | sbatch
  jax-python --env my.sqsh train.py

What the image has stays as it is: jax, jaxlib, numpy and the rest are never replaced."""


def main(arguments: Sequence[str]) -> int:
    """Reads the options and does the deed."""
    parser = argparse.ArgumentParser(
        prog="jax-sif env",
        usage="jax-sif env create|list|info|freeze|check FILE.sqsh ...",
        description="Puts your own packages on top of the image, in one file.",
        epilog=_epilog(),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("deed", choices=_DESCRIPTIONS, help=argparse.SUPPRESS)
    parser.add_argument("words", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    deed, _ = _DESCRIPTIONS[chosen.deed]
    # Options may stand between the packages.
    return deed(_parser(chosen.deed).parse_intermixed_args(chosen.words))


def _epilog() -> str:
    deeds = [f"  {name:<6}  {text}" for name, (_, text) in _DESCRIPTIONS.items()]
    return "\n".join([*deeds, "", _EXAMPLES])


def _create(chosen: argparse.Namespace) -> int:
    from jaxsif.overlay.create import Order, create

    words = [*chosen.pip]
    for name in ("find_links", "requirement"):
        for value in getattr(chosen, name):
            words += [f"--{name.replace('_', '-')}", value]
    words += ["--no-index"] if chosen.no_index else []
    if not chosen.packages and not chosen.requirement:
        raise UsageError(
            "jax-sif env create needs packages, as in: jax-sif env create my.sqsh flax"
            " optax"
        )
    # Options of pip's would hide what a package's name says of itself.
    for package in chosen.packages:
        if package.startswith("-"):
            raise UsageError(
                f"{package!r} is no package; options of pip: --pip={package}"
            )
    file = chosen.file
    done = create(Order(file, (*words, "--", *chosen.packages), chosen.force))
    made = done.made
    for package in made.packages:
        print(f"  {package.name} {package.version}")
    count = len(made.packages)
    print(
        f"{file}: {count} package{'' if count == 1 else 's'}, {done.size_bytes / 1e6:.1f} MB, on top"
        f" of {made.image.name}"
    )
    print(f"  jax-sif job G8N2p8 --env {file} train.py | sbatch")
    return PASS


def _list(chosen: argparse.Namespace) -> int:
    from jaxsif.overlay.fitness import read

    packages = read(chosen.file).packages
    width = max(len(package.name) for package in packages)
    for package in packages:
        asked = "  asked for" if package.is_asked else ""
        print(f"{package.name:<{width}}  {package.version}{asked}")
    return PASS


def _info(chosen: argparse.Namespace) -> int:
    from jaxsif.overlay.fitness import read

    found = read(chosen.file)
    asked = [f"{p.name} {p.version}" for p in found.packages if p.is_asked]
    rows = {
        "on top of": found.image.name,
        "asked for": ", ".join(asked),
        "packages": len(found.packages),
        "size": f"{chosen.file.stat().st_size / 1e6:.1f} MB",
        "content": found.content[:16],
    }
    for name, value in rows.items():
        print(f"{name:<9}  {value}")
    return PASS


def _freeze(chosen: argparse.Namespace) -> int:
    from jaxsif.overlay import manifest as made
    from jaxsif.overlay.fitness import read

    sys.stdout.writelines(f"{line}\n" for line in made.frozen(read(chosen.file)))
    return PASS


def _check(chosen: argparse.Namespace) -> int:
    from jaxsif.overlay.create import read_image
    from jaxsif.overlay.fitness import misfit, read, unmet

    image = read_image()
    problems = list(misfit(read(chosen.file), image, is_any_image=chosen.any_image))
    for problem in problems:
        print(f"{chosen.file}: {problem.text}\n  -> {problem.remedy}")
    complaints = unmet(chosen.file)
    for line in complaints:
        print(f"{chosen.file}: {line}")
    if problems or complaints:
        return FAIL
    print(f"{chosen.file}: fits {image.name}")
    return PASS


_DESCRIPTIONS: dict[str, tuple[Callable[[argparse.Namespace], int], str]] = {
    "create": (_create, "make a file"),
    "list": (_list, "its packages"),
    "info": (_info, "what is in it, and which image it was made for"),
    "freeze": (_freeze, "a requirements file that makes the same again"),
    "check": (_check, "whether it fits this image; exit status 0 yes, 1 no"),
}


def _parser(deed: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"jax-sif env {deed}",
        description=_DESCRIPTIONS[deed][1],
        allow_abbrev=False,
    )
    parser.add_argument("file", type=Path, metavar="FILE.sqsh")
    if deed == "create":
        _add_create(parser)
    elif deed == "check":
        parser.add_argument(
            "--any-image",
            action="store_true",
            help="look only at what the packages say that they need",
        )
    return parser


def _add_create(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "packages",
        nargs="*",
        metavar="PACKAGE",
        help="as pip takes them: flax, 'optax>=0.2'",
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
        "--no-index", action="store_true", help="take packages from such folders alone"
    )
    parser.add_argument(
        "--pip",
        action="append",
        default=[],
        metavar="OPTION",
        help="any option of pip install, as --pip=--pre; may be repeated",
    )
    parser.add_argument(
        "--force",
        action="store_true",
        help="put it in the place of a file of that name",
    )
