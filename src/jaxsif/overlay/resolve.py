"""What pip is asked for, and what its complaints mean for people who see the image's packages as given; pure."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxsif.overlay.manifest import Package, normal

# What pip says, in order, of why no set of versions will do.
_CONFLICT = re.compile(
    r"^The conflict is caused by:\n((?: {4}.+\n)+)(?:\n|\Z)", re.MULTILINE
)
_DEPENDS = re.compile(r"(\S+) (\S+) depends on (.+)")
_ASKED = re.compile(r"The user requested (?!\(constraint\))(.+)")
_GIVEN = re.compile(r"The user requested \(constraint\) (\S+?)==(\S+)")
_NAME = re.compile(r"[A-Za-z0-9._-]+")

_NO_NETWORK = re.compile(r"connection broken by|Could not fetch URL|Max retries")
_MAX_NAMED = 5


def command(
    python: str, folder: Path, constraints: Path, report: Path, words: Sequence[str]
) -> list[str]:
    """pip's words to put packages into a folder, and to leave alone those that are
    there already: with --target it would install all of them once more."""
    return [
        # Neither PYTHONPATH nor the home take part.
        *(python, "-I", "-m", "pip", "install"),
        *("--prefix", str(folder), "--constraint", str(constraints)),
        *("--report", str(report), "--no-user", "--no-compile", "--prefer-binary"),
        *("--no-warn-script-location", "--disable-pip-version-check"),
        *("--progress-bar", "off", "--no-input", *words),
    ]


def installed(report: Mapping[str, Any]) -> Iterator[Package]:
    """What pip says that it has installed, by name."""
    for item in sorted(report["install"], key=lambda i: normal(i["metadata"]["name"])):
        archive = item["download_info"].get("archive_info", {})
        yield Package(
            name=normal(item["metadata"]["name"]),
            version=item["metadata"]["version"],
            sha256=archive.get("hashes", {}).get("sha256"),
            is_asked=item["requested"],
        )


def complaint(said: str, image: Mapping[str, str], python: str) -> str:
    """What pip's output means. `image` are the versions of the image, by package."""
    conflict = _CONFLICT.search(said)
    if conflict:
        return _conflict(conflict[1].splitlines(), image)
    if "No space left" in said or "Disk quota exceeded" in said:
        return (
            "no room for the packages while they are put together: the disk of TMPDIR"
            " is full; name a folder with room: TMPDIR=/scratch/me jax-sif env create ..."
        )
    missing = re.search(r"No matching distribution found for (.+)", said)
    if missing and _NO_NETWORK.search(said):
        return (
            f"cannot reach the package index for {missing[1]!r}; run this where the"
            " network is (a login node), or with wheels: --no-index --find-links FOLDER"
        )
    if missing:
        return _missing(missing[1], said, python)
    old = re.search(
        r"Package '(.{1,200})' requires a different Python: (\S{1,60}) not in"
        r" '(.{1,200})'",
        said,
    )
    if old:
        return (
            f"{old[1]} asks for Python {old[3]}, the image has {old[2]}; ask for another"
            " version of it, or take another image"
        )
    built = re.search(r"Failed (?:to build|building wheel for) (.+)", said)
    if built:
        return (
            f"{built[1]} comes as source, and building it failed: the image has no"
            " compiler; build a wheel elsewhere for this Python and give its folder:"
            f" --find-links FOLDER. pip says: {_last_error(said)}"
        )
    return f"pip failed: {_last_error(said)}"


def _conflict(lines: Sequence[str], image: Mapping[str, str]) -> str:
    """`netket 3.23 asks for jax<0.11, the image has jax 0.12.0.1`"""
    wanted, given = [], {}
    for line in map(str.strip, lines):
        if found := _GIVEN.match(line):
            given[normal(found[1])] = found[2]
        elif found := _ASKED.match(line):
            wanted.append(("you ask", found[1]))
        elif found := _DEPENDS.match(line):
            wanted.append((f"{found[1]} {found[2]} asks", found[3]))
    told = [f"{who} for {what}" for who, what in wanted[:_MAX_NAMED]]
    if len(wanted) > _MAX_NAMED:
        told.append(f"so do {len(wanted) - _MAX_NAMED} more")
    if not given:
        return (
            f"these cannot be together: {'; '.join(told)}; ask for other versions of"
            " them"
        )
    names = {found[0] for _, what in wanted if (found := _NAME.match(what))}
    has = [f"{name} {version}" for name, version in given.items()]
    has += [
        f"{normal(name)} {image[normal(name)]}"
        for name in sorted(names)
        if normal(name) in image and normal(name) not in given
    ]
    return (
        f"{'; '.join(told)}; the image has {', '.join(has)}, which stays; ask for"
        " another version of the package, or take an image that fits it (module avail"
        " jax-sif)"
    )


def _missing(what: str, said: str, python: str) -> str:
    versions = said.partition("(from versions: ")[2].partition(")")[0]
    known = versions.split(", ")
    if known in ([""], ["none"]):
        return (
            f"there is no package {what!r} for {python}, in the index or folder that"
            " pip was told of; check its name"
        )
    some = ", ".join(known[-_MAX_NAMED:])
    return f"there is no {what!r} for {python}; the newest that are there: {some}"


def _last_error(said: str) -> str:
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [x.removeprefix("ERROR: ") for x in lines if x.startswith("ERROR: ")]
    return (errors or lines or ["nothing"])[-1]
