"""Prints the description of an image, as spython reads it: `make info`."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import build_run
import versions
from build_run import BuildError
from builder import MINICLUSTER

MANIFEST = "/opt/jax-sif/image.json"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    add = parser.add_argument
    add("--accel", default=versions.DEFAULT_ACCELERATOR, help="cuda12, cuda13 or cpu")
    add("--folder", type=Path, default=versions.CHECKOUT / "build", help="of images")
    add("--json", action="store_true", help="for programs; with recipe and labels")
    options = parser.parse_args()
    return build_run.run_tool("info.py", lambda: show(options))


def show(options: argparse.Namespace) -> None:
    image = find_image(options.accel, options.folder.absolute())
    with singularity_on_path(image.parent):
        facts = read_facts(image)
    if options.json:
        print(json.dumps(facts, indent=2))
        return
    table = rows(facts, lock_hash(options.accel))
    width = max(len(name) for name, _ in table)
    for name, value in table:
        print(f"{name:<{width}}  {value}")


def find_image(accel: str, folder: Path) -> Path:
    versions.check_accelerator(accel)
    image = folder / f"{versions.image_name(accel)}.sif"
    if not image.is_file():
        raise versions.UsageError(
            f"there is no {image}; build it first: make build-image ACCEL={accel}"
        )
    return image


@contextmanager
def singularity_on_path(folder: Path) -> Iterator[None]:
    """Provide the name `singularity`, which spython calls, if it is missing."""
    if shutil.which("singularity"):
        yield
        return
    toolbox = [str(MINICLUSTER), "toolbox", f"--bind={folder}", "--", "apptainer"]
    apptainer = shutil.which("apptainer")
    command = shlex.join([apptainer] if apptainer else toolbox)
    before = os.environ["PATH"]
    with tempfile.TemporaryDirectory() as lent:
        program = Path(lent) / "singularity"
        program.write_text(f'#!/bin/sh\nexec {command} "$@"\n')
        program.chmod(0o755)
        os.environ["PATH"] = f"{lent}:{before}"
        try:
            yield
        finally:
            os.environ["PATH"] = before


def read_facts(image: Path) -> dict[str, Any]:
    """The image's own description, and the runtime's."""
    try:
        from spython.main import Client
    except ImportError as error:
        raise BuildError(f"{error}; call this as: make info") from error
    inspected = Client.inspect(str(image))
    if "attributes" not in inspected:
        raise unreadable(image, inspected["message"])
    printed = Client.execute(str(image), ["cat", MANIFEST], return_result=True)
    if printed["return_code"]:
        raise unreadable(image, [str(printed["message"])])
    # spython puts what came on standard error behind it, or makes a list of one a text.
    message = printed["message"]
    manifest = json.loads(message if isinstance(message, str) else message[0])
    size_bytes = image.stat().st_size
    return {
        "image": str(image),
        "size_bytes": size_bytes,
        **manifest,
        **inspected["attributes"],
    }


def unreadable(image: Path, messages: list[str]) -> BuildError:
    output = "".join(messages).strip()
    return BuildError(
        f"cannot look into {str(image)!r}: {output}\nif it is damaged, build it again:"
        " make build-image"
    )


def lock_hash(accel: str) -> str:
    return hashlib.sha256(versions.lock_path(accel).read_bytes()).hexdigest()


def rows(facts: dict[str, Any], current_lock: str) -> list[tuple[str, str]]:
    """The table for people: name and value."""
    locked = facts["lock_sha256"]
    whose = "this checkout's" if locked == current_lock else "not this checkout's"
    plain = ("accel", "machine", "debian", "kit", "built", "revision")
    return [
        ("image", facts["image"]),
        ("size", f"{facts['size_bytes'] / 1e9:.3f} GB"),
        *facts["versions"].items(),
        *((name, str(facts[name])) for name in plain),
        ("lock", f"{locked} ({whose})"),
        ("base", facts.get("base") or base(facts["deffile"])),
        *((f"debian: {suite}", date) for suite, date in archives(facts)),
        *((name, value) for name, value in debian(facts) if value),
        *(("sets", line) for line in exports(facts["environment"])),
        *(("label", f"{name}={value}") for name, value in own_labels(facts["labels"])),
    ]


def archives(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """The date of each archive of Debian that the packages came from."""
    return sorted(facts.get("debian_archives", {}).items())


def debian(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """Whether the packages are those of their lock, and what differs."""
    names = ("debian_snapshot", "debian_lock")
    rows = [(name, facts.get(name, "")) for name in names]
    return [*rows, *(("differs", line) for line in facts.get("debian_differences", []))]


def base(recipe: str) -> str:
    """The two words of a recipe's head."""
    head = dict(line.split(": ", 1) for line in recipe.splitlines()[:2])
    return f"{head['Bootstrap']} {head['From']}"


def exports(environment: dict[str, str]) -> list[str]:
    """The variables that the recipe sets, without the runtime's own lines."""
    lines = "\n".join(environment.values()).splitlines()
    words = [line.strip() for line in lines]
    return [
        word.removeprefix("export ") for word in words if word.startswith("export ")
    ]


def own_labels(labels: dict[str, str]) -> list[tuple[str, str]]:
    """The labels of the recipe, without those that the runtime adds to every image."""
    return sorted(
        item for item in labels.items() if not item[0].startswith("org.label-schema.")
    )


if __name__ == "__main__":
    sys.exit(main())
