"""The command line of pip, and explanations of its errors for users of the image."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxsif.overlay.manifest import Package, normalize_name

# pip's messages about conflicting versions, in their order.
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
    python: str, folder: Path, constraints: Path, report: Path, pip_args: Sequence[str]
) -> list[str]:
    """The command that installs packages into a folder.

    With --target, pip would install the image's packages again.
    """
    return [
        # Isolated from PYTHONPATH and the user's site-packages.
        *(python, "-I", "-m", "pip", "install"),
        *("--prefix", str(folder), "--constraint", str(constraints)),
        *("--report", str(report), "--no-user", "--no-compile", "--prefer-binary"),
        *("--no-warn-script-location", "--disable-pip-version-check"),
        *("--progress-bar", "off", "--no-input", *pip_args),
    ]


def installed(report: Mapping[str, Any]) -> Iterator[Package]:
    """The packages in pip's installation report, by name."""
    for item in sorted(
        report["install"], key=lambda i: normalize_name(i["metadata"]["name"])
    ):
        archive = item["download_info"].get("archive_info", {})
        yield Package(
            name=normalize_name(item["metadata"]["name"]),
            version=item["metadata"]["version"],
            sha256=archive.get("hashes", {}).get("sha256"),
            is_requested=item["requested"],
        )


def explain_pip_error(output: str, image: Mapping[str, str], python: str) -> str:
    """Explain pip's output. `image`: the versions of the image's packages."""
    conflict = _CONFLICT.search(output)
    if conflict:
        return _conflict(conflict[1].splitlines(), image)
    if "No space left" in output or "Disk quota exceeded" in output:
        return (
            "the disk of TMPDIR is full; choose a folder with more space:"
            " TMPDIR=/scratch/me jax-sif env create ..."
        )
    missing = re.search(r"No matching distribution found for (.+)", output)
    if missing and _NO_NETWORK.search(output):
        return (
            f"cannot reach the package index for {missing[1]!r}; run this on a"
            " node with network (a login node), or with wheels: --no-index --find-links FOLDER"
        )
    if missing:
        return _missing(missing[1], output, python)
    old = re.search(
        r"Package '(.{1,200})' requires a different Python: (\S{1,60}) not in"
        r" '(.{1,200})'",
        output,
    )
    if old:
        return (
            f"{old[1]} requires Python {old[3]}, the image has {old[2]}; request a different"
            " version of it, or use a different image"
        )
    built = re.search(r"Failed (?:to build|building wheel for) (.+)", output)
    if built:
        return (
            f"{built[1]} is distributed as source, and its build failed: the image has no"
            " compiler; build a wheel for this Python elsewhere and pass its folder:"
            f" --find-links FOLDER. pip's error: {_last_error(output)}"
        )
    return f"pip failed: {_last_error(output)}"


def _conflict(lines: Sequence[str], image: Mapping[str, str]) -> str:
    """`netket 3.23 requires jax<0.11, the image has jax 0.12.0.1`"""
    wanted, given = [], {}
    for line in map(str.strip, lines):
        if found := _GIVEN.match(line):
            given[normalize_name(found[1])] = found[2]
        elif found := _ASKED.match(line):
            wanted.append(("you request", found[1]))
        elif found := _DEPENDS.match(line):
            wanted.append((f"{found[1]} {found[2]} requires", found[3]))
    parts = [f"{who} {what}" for who, what in wanted[:_MAX_NAMED]]
    if len(wanted) > _MAX_NAMED:
        parts.append(f"and {len(wanted) - _MAX_NAMED} more")
    if not given:
        return (
            f"the requirements conflict: {'; '.join(parts)}; request different versions"
        )
    names = {found[0] for _, what in wanted if (found := _NAME.match(what))}
    has = [f"{name} {version}" for name, version in given.items()]
    has += [
        f"{normalize_name(name)} {image[normalize_name(name)]}"
        for name in sorted(names)
        if normalize_name(name) in image and normalize_name(name) not in given
    ]
    return (
        f"{'; '.join(parts)}; the image has {', '.join(has)}, which is never replaced;"
        " request a different version of the package, or use an image that fits it"
        " (module avail jax-sif)"
    )


def _missing(what: str, output: str, python: str) -> str:
    versions = output.partition("(from versions: ")[2].partition(")")[0]
    known = versions.split(", ")
    if known in ([""], ["none"]):
        return (
            f"there is no package {what!r} for {python} in pip's index or folder; check its"
            " name"
        )
    some = ", ".join(known[-_MAX_NAMED:])
    return f"there is no {what!r} for {python}; the newest available: {some}"


def _last_error(output: str) -> str:
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    errors = [x.removeprefix("ERROR: ") for x in lines if x.startswith("ERROR: ")]
    return (errors or lines or ["nothing"])[-1]
