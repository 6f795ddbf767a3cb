"""Builds the OCI image without a daemon or privilege: `make build-oci`; on the host."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import build_context
import build_image
import build_run
import placing
import versions
from build_image import (
    Base,
    add_common_options,
    check_base,
    file_name,
    local_base_name,
    make_local_base,
)
from build_run import BuildError, Space
from builder import Builder, ensure_folder, find_builder

LOCAL_BASE = "localhost/jax-sif-base"
# vfs keeps the base, the container and the image as whole copies.
SPACE = {
    "cpu": Space(scratch_gb=2.5, image_gb=0.3),
    "cuda12": Space(scratch_gb=20, image_gb=3.6),
    "cuda13": Space(scratch_gb=16, image_gb=2.8),
}
PACKAGES = ("buildah", "uidmap")


@dataclass(frozen=True)
class Workshop:
    """One build: who does it, where, and how far it is."""

    builder: Builder
    scratch: Path
    log: Path
    stages: build_run.Stages

    def buildah(self, *words: str) -> None:
        """Run buildah with a temporary storage."""
        command = ["buildah", f"--root={self.scratch}/storage"]
        command += [f"--runroot={self.scratch}/run", "--storage-driver=vfs", *words]
        variables = {"TMPDIR": f"{self.scratch}/tmp", "BUILDAH_ISOLATION": "chroot"}
        variables["XDG_RUNTIME_DIR"] = f"{self.scratch}/run"
        bundle = self.scratch / "lent/ca-bundle.crt"
        if bundle.exists():
            variables["SSL_CERT_FILE"] = str(bundle)
        build_run.run_stages(command, self.stages, self.log, self.builder, **variables)


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    add_common_options(parser)
    options = parser.parse_args(arguments)
    return build_run.run_tool("build_oci.py", lambda: build(options))


def build(options: argparse.Namespace) -> None:
    began_s = time.monotonic()
    accel = versions.check_accelerator(options.accel)
    check_base(options.base)
    folder = options.output.absolute()
    image = folder / f"{versions.image_name(accel)}.oci.tar"
    content = build_context.content_hash(accel, options.base)
    folder.mkdir(parents=True, exist_ok=True)
    with placing.one_at_a_time(placing.lock_file(image), f"works on {image}"):
        if not options.force and build_run.is_up_to_date(image, content):
            print(f"{image} is up to date (--force builds it again)")
            return
        build_now(options, image, content)
    build_run.report(image, began_s)


def build_now(options: argparse.Namespace, image: Path, content: str) -> None:
    ensure_buildah()
    builder = find_builder()
    accel, folder = options.accel, image.parent
    build_run.check_free_space(accel, SPACE[accel], builder.cache, folder)
    log = folder / f"{image.name}.log"
    log.unlink(missing_ok=True)
    with builder.scratch() as scratch:
        shop = Workshop(builder, scratch, log, build_run.Stages())
        make_image(shop, options)
        facts = scratch / "lent/tmp/image.json"
        build_run.publish(scratch / "image.tar", facts, image, content)


def ensure_buildah() -> None:
    missing = not shutil.which("buildah") or not shutil.which("newuidmap")
    if not missing:
        return
    install = ["apt-get", "install", "--yes", "--no-install-recommends", *PACKAGES]
    if os.geteuid() or not shutil.which("apt-get"):
        raise BuildError(
            f"building an OCI image needs {' and '.join(PACKAGES)}; install them with:"
            f" sudo {' '.join(install)}"
        )
    print(f"installing {' and '.join(PACKAGES)}", flush=True)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "-qq", "update"], [*install, "-qq"]):
        if subprocess.run(command, env=environment).returncode:
            raise BuildError(f"{' '.join(command)} failed (message above)")


def make_image(shop: Workshop, options: argparse.Namespace) -> None:
    built_s = build_context.build_time_s(options.accel)
    prepare(shop, options, built_s)
    base = find_base(shop, options.base)
    with build_run.registry_advice(shop.stages, options.base, base.source):
        shop.buildah(*build_words(shop, options.accel, base, built_s))
    shop.stages.enter("archive")
    tag = image_tag(options.accel)
    archive = f"oci-archive:{shop.scratch}/image.tar:{tag}"
    shop.buildah("push", f"jax-sif:{tag}", archive)
    shop.stages.end()


def prepare(shop: Workshop, options: argparse.Namespace, built_s: int) -> None:
    bundle = build_context.find_bundle(options.ca_bundle)
    if bundle:
        print(f"certificates: {bundle.path} (from {bundle.reason})")
    build_context.copy(options.accel, shop.scratch / "context")
    build_context.lend(shop.scratch / "lent", bundle, built_s)
    for name in ("tmp", "run", "storage"):
        (shop.scratch / name).mkdir()
    shop.builder.give(shop.scratch)
    ensure_folder(shop.builder, shop.builder.cache / "wheels")


def image_tag(accel: str) -> str:
    return f"{versions.jax_version(accel)}-{accel}"


def build_words(shop: Workshop, accel: str, base: Base, built_s: int) -> list[str]:
    scratch, wheels = shop.scratch, shop.builder.cache / "wheels"
    revision = build_context.git_revision(accel)
    created = build_context.as_date(built_s)
    labels = versions.image_labels(accel, revision, created)
    # The source has its digest already.
    arguments = {"BASE_IMAGE": base.source, "BASE_DIGEST": "", "BASE": base.name}
    arguments.update(ACCEL=accel, REVISION=revision)
    return [
        "bud",
        "--identity-label=false",
        f"--timestamp={built_s}",
        f"--tag=jax-sif:{image_tag(accel)}",
        f"--volume={scratch}/lent:/mnt",
        f"--volume={wheels}:/mnt/wheels",
        *[f"--build-arg={name}={value}" for name, value in arguments.items()],
        *[f"--label={name}={value}" for name, value in labels.items()],
        f"--file={scratch}/context/Dockerfile",
        f"{scratch}/context",
    ]


def find_base(shop: Workshop, choice: str) -> Base:
    if choice == "registry":
        return build_image.find_base(choice)
    archive = find_archive(choice)
    import_base(shop, archive)
    name = local_base_name() if choice == "local" else file_name(archive)
    return Base("oci", LOCAL_BASE, name)


def find_archive(choice: str) -> Path:
    if choice == "local":
        return Path(make_local_base("--tar"))
    if not Path(choice).is_file():
        raise versions.UsageError(
            f"BASE={choice!r} is no tar file; an OCI image is built on registry, local,"
            " or the tar file of a root file system"
        )
    return Path(choice).absolute()


def import_base(shop: Workshop, archive: Path) -> None:
    """Makes an image of the root file system in a tar file."""
    shop.buildah("from", "--name=base", "scratch")
    shop.buildah("add", "base", str(archive), "/")
    shop.buildah("commit", "--rm", "base", LOCAL_BASE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
