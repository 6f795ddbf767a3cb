"""Writes image.json, packages.txt and the image's labels; run by image_post.sh."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
import time
from importlib import metadata
from pathlib import Path

import image_debian
from versions import COMPONENTS, pins

KIT = Path("/opt/jax-sif")


def main(accel: str, revision: str, base: str) -> None:
    manifest = {**describe(accel, revision), **origins(base)}
    text = json.dumps(manifest, indent=2) + "\n"
    (KIT / "image.json").write_text(text)
    (KIT / "packages.txt").write_text(packages(manifest))
    append_labels(labels(manifest))


def describe(accel: str, revision: str) -> dict[str, object]:
    lock = (KIT / "recipe/requirements.txt").read_bytes()
    built_s = int(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return {
        "schema": 1,
        "kit": pins(KIT / "recipe")["JAX_SIF_VERSION"],
        "accel": accel,
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), **installed_versions()},
        "debian": Path("/etc/debian_version").read_text().strip(),
        "built": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(built_s)),
        "revision": revision,
        "lock_sha256": hashlib.sha256(lock).hexdigest(),
    }


def origins(base: str) -> dict[str, object]:
    """Where the image's system comes from, so that two images can be compared."""
    lock, different = image_debian.comparison()
    return {
        "base": base,
        "debian_snapshot": os.environ.get("DEBIAN_SNAPSHOT", ""),
        "debian_archives": image_debian.archives(),
        "debian_lock": lock,
        "debian_differences": different,
        "debian_packages": image_debian.installed(),
        "kit_sha256": tree_hash(KIT),
    }


def tree_hash(folder: Path) -> str:
    """Of what the build was given of the kit: names and contents, without byte code."""
    digest = hashlib.sha256()
    for name in ("recipe", "lib", "diag"):
        for path in sorted((folder / name).rglob("*")):
            if path.is_file() and path.suffix != ".pyc":
                content = path.read_bytes()
                head = f"{path.relative_to(folder)}\0{len(content)}\0"
                digest.update(head.encode() + content)
    return digest.hexdigest()


def installed_versions() -> dict[str, str]:
    installed = {
        distribution.metadata["Name"]: distribution.version
        for distribution in metadata.distributions()
    }
    return {
        component: installed[name]
        for component, names in COMPONENTS.items()
        for name in names
        if name in installed
    }


def packages(manifest: dict[str, object]) -> str:
    """Every package as a constraint of pip's, below a line that names them all: an
    image with another first line may not run the same packages of a user's."""
    lines = sorted(
        f"{distribution.metadata['Name'].lower()}=={distribution.version}\n"
        for distribution in metadata.distributions()
    )
    python = ".".join(platform.python_version_tuple()[:2])
    where = f"Python {python}, {manifest['machine']}"
    key = hashlib.sha256("".join([where, *lines]).encode()).hexdigest()[:16]
    versions = manifest["versions"]
    assert isinstance(versions, dict)
    name = f"jax-sif-{versions['jax']}-{manifest['accel']}"
    return "".join([f"# {key} {name} ({where})\n", *lines])


def labels(manifest: dict[str, object]) -> dict[str, str]:
    """The labels that are known only now; the fixed ones stand in the recipes."""
    versions = manifest["versions"]
    assert isinstance(versions, dict)
    return {
        "org.opencontainers.image.version": f"{versions['jax']}-{manifest['accel']}",
        "org.opencontainers.image.revision": str(manifest["revision"]),
        "org.opencontainers.image.created": str(manifest["built"]),
        "jax-sif.version": str(manifest["kit"]),
        "jax-sif.accel": str(manifest["accel"]),
        **{
            f"jax-sif.{component}": versions[component]
            for component in COMPONENTS
            if component in versions
        },
    }


def append_labels(values: dict[str, str]) -> None:
    """Hands the labels to Apptainer; an OCI engine gets them from its build tool."""
    path = os.environ.get("APPTAINER_LABELS") or os.environ.get("SINGULARITY_LABELS")
    if path:
        with open(path, "a") as file:
            file.writelines(f"{key} {value}\n" for key, value in values.items())


if __name__ == "__main__":
    main(*sys.argv[1:4])
