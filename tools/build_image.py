"""Builds the Singularity/Apptainer image without privilege: `make build-image`."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import build_context
import build_run
import placing
import sif_header
import versions
from build_run import BuildError, Space
from builder import MINICLUSTER, Builder, ensure_folder, find_builder

COMPRESSIONS = ("zstd", "gzip")
SPACE = {
    "cpu": Space(scratch_gb=1.5, image_gb=0.3),
    "cuda12": Space(scratch_gb=13, image_gb=3.6),
    "cuda13": Space(scratch_gb=10.5, image_gb=2.8),
}


@dataclass(frozen=True)
class Base:
    """What the image is built on, in the words of a recipe, and for image.json."""

    bootstrap: str
    source: str
    name: str


@dataclass(frozen=True)
class Runtime:
    """The program that builds, and the options that its `build` supports."""

    command: tuple[str, ...]
    help_text: str

    @property
    def in_toolbox(self) -> bool:
        """The toolbox becomes the ordinary user, and root in a namespace, by itself."""
        return self.command[0] == str(MINICLUSTER)


def main(arguments: list[str]) -> int:
    options = parse(arguments)
    return build_run.run_tool("build_image.py", lambda: build(options))


def parse(arguments: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.partition(":")[0])
    add_common_options(parser)
    parser.add_argument(
        "--compression",
        default=os.environ.get("SIF_COMPRESSION") or "zstd",
        help="zstd or gzip",
    )
    return parser.parse_args(arguments)


def add_common_options(parser: argparse.ArgumentParser) -> None:
    add, env = parser.add_argument, os.environ.get
    add("--accel", default=versions.DEFAULT_ACCELERATOR, help="cuda12, cuda13 or cpu")
    add("--base", default=env("BASE") or "registry", help="registry, local, or a path")
    add("--ca-bundle", default=env("CA_BUNDLE"), help="certificates for downloads")
    add("--output", type=Path, default=versions.CHECKOUT / "build", help="folder")
    add("--force", action="store_true", help="build even if nothing changed")


def build(options: argparse.Namespace) -> None:
    began_s = time.monotonic()
    check(options)
    accel, folder = options.accel, options.output.absolute()
    image = folder / f"{versions.image_name(accel)}.sif"
    content = build_context.content_hash(accel, options.base, options.compression)
    folder.mkdir(parents=True, exist_ok=True)
    with placing.one_at_a_time(placing.lock_file(image), f"works on {image}"):
        if not options.force and build_run.is_up_to_date(image, content):
            print(f"{image} is up to date (--force builds it again)")
            return
        build_now(options, image, content)
    build_run.report(image, began_s)


def build_now(options: argparse.Namespace, image: Path, content: str) -> None:
    builder = find_builder()
    accel = options.accel
    build_run.check_free_space(accel, SPACE[accel], builder.cache, image.parent)
    runtime, base = find_runtime(), find_base(options.base)
    with builder.scratch() as scratch:
        prepare(scratch, builder, options)
        run(scratch, builder, runtime, base, options, image.with_suffix(".log"))
        facts = scratch / "lent/tmp/image.json"
        settle_header(scratch / "image.sif", accel)
        build_run.publish(scratch / "image.sif", facts, image, content)


def settle_header(image: Path, accel: str) -> None:
    try:
        sif_header.settle(image, build_context.build_time_s(accel))
    except sif_header.NoSifError as error:
        # Another build of the same will differ in it, and in nothing else.
        print(f"the header keeps its times: {error}")


def check(options: argparse.Namespace) -> None:
    """Raises UsageError for anything that was mistyped, before anything is done."""
    versions.check_accelerator(options.accel)
    if options.compression not in COMPRESSIONS:
        raise versions.UsageError(
            f"SIF_COMPRESSION={options.compression!r} is no compression this kit"
            f" builds with; choose one of {', '.join(COMPRESSIONS)}"
        )
    check_base(options.base)


def check_base(choice: str) -> None:
    if choice not in ("registry", "local") and not Path(choice).exists():
        raise versions.UsageError(
            f"BASE={choice!r} is no base; choose registry, local (made from Debian"
            " packages), or the path of a root file system or SIF"
        )


def find_base(choice: str) -> Base:
    if choice == "registry":
        warn_of_a_loose_base()
        return Base("docker", versions.base_reference(), versions.base_name())
    if choice == "local":
        return Base("localimage", make_local_base(), local_base_name())
    path = Path(choice).absolute()
    # A folder has no hash; its packages are listed in image.json.
    name = file_name(path) if path.is_file() else "folder"
    return Base("localimage", str(path), name)


def warn_of_a_loose_base() -> None:
    """Raises BuildError with STRICT=1."""
    pinned = versions.pins()
    if pinned["BASE_DIGEST"]:
        return
    loose = (
        f"the base is {pinned['BASE_IMAGE']}, whatever that is today: image.env has no"
        " BASE_DIGEST (make lock prints how to get it)"
    )
    if "JAX_SIF_STRICT" in build_context.debian_settings():
        raise BuildError(loose)
    print(f"WARNING: {loose}", flush=True)


def local_base_name() -> str:
    suite = versions.pins()["DEBIAN_SUITE"]
    return f"local:{suite}@{digest(Path(make_local_base('--tar')))}"


def file_name(path: Path) -> str:
    return f"file@{digest(path)}"


def digest(path: Path) -> str:
    found = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            found.update(piece)
    return f"sha256:{found.hexdigest()}"


def make_local_base(*options: str) -> str:
    """The path of a minimal Debian, made from packages or found in the cache."""
    suite = versions.pins()["DEBIAN_SUITE"]
    command = [str(MINICLUSTER), "base-tree", *options, suite]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise BuildError("could not make the local base (message above)")
    return done.stdout.splitlines()[-1]


def find_runtime() -> Runtime:
    """The host's own program if it knows templates, else the mini cluster's."""
    found = [shutil.which(name) for name in ("apptainer", "singularity")]
    candidates = [(path,) for path in found if path]
    candidates.append((str(MINICLUSTER), "toolbox", "--", "apptainer"))
    for command in candidates:
        done = subprocess.run(
            [*command, "build", "--help"], stdout=subprocess.PIPE, text=True
        )
        if "--build-arg" in done.stdout:
            return Runtime(command, done.stdout)
        print(f"{command[0]} cannot build templates (its build knows no --build-arg)")
    raise BuildError(
        "no program can build the image: no Apptainer 1.2 or newer on PATH, and the"
        " mini cluster's toolbox does not start (message above)"
    )


def prepare(scratch: Path, builder: Builder, options: argparse.Namespace) -> None:
    bundle = build_context.find_bundle(options.ca_bundle)
    if bundle:
        print(f"certificates: {bundle.path} (from {bundle.reason})")
    build_context.copy(options.accel, scratch / "context")
    built_s = build_context.build_time_s(options.accel)
    build_context.lend(scratch / "lent", bundle, built_s)
    (scratch / "tmp").mkdir()
    builder.give(scratch)
    for name in ("wheels", "apptainer"):
        ensure_folder(builder, builder.cache / name)


def run(
    scratch: Path,
    builder: Builder,
    runtime: Runtime,
    base: Base,
    options: argparse.Namespace,
    log: Path,
) -> None:
    log.unlink(missing_ok=True)
    command = build_command(scratch, builder, runtime, base, options)
    stages = build_run.Stages()
    user = None if runtime.in_toolbox else builder
    with build_run.registry_advice(stages, options.base, base.source):
        build_run.run_stages(command, stages, log, user)
    stages.end()


def build_command(
    scratch: Path,
    builder: Builder,
    runtime: Runtime,
    base: Base,
    options: argparse.Namespace,
) -> list[str]:
    variables = runtime_variables(scratch, builder)
    built_s = build_context.build_time_s(options.accel)
    arguments = {
        "BOOTSTRAP": base.bootstrap,
        "FROM": base.source,
        "BASE": base.name,
        "ACCEL": options.accel,
        "REVISION": build_context.git_revision(options.accel),
        "BUILT": build_context.as_date(built_s),
    }
    command = ["env", f"--chdir={scratch}/context", *variables]
    command += [runtime.command[-1], "build"]
    command += [] if runtime.in_toolbox else ["--fakeroot"]
    # Otherwise the runtime writes the time of the build into a label.
    command += ["--force"]
    command += ["--bind", f"{scratch}/lent:/mnt"]
    command += ["--bind", f"{builder.cache}/wheels:/mnt/wheels"]
    for name, value in arguments.items():
        command += ["--build-arg", f"{name}={value}"]
    command += squashfs_options(runtime, options.compression, built_s)
    command += [f"{scratch}/image.sif", "Singularity.def"]
    if not runtime.in_toolbox:
        return command
    seen = [scratch, builder.cache / "wheels", builder.cache / "apptainer"]
    if options.base not in ("registry", "local"):
        seen.append(Path(base.source))
    binds = [f"--bind={path}" for path in seen]
    return [str(MINICLUSTER), "toolbox", *binds, "--", *command]


def runtime_variables(scratch: Path, builder: Builder) -> list[str]:
    folders = {"TMPDIR": scratch / "tmp", "CACHEDIR": builder.cache / "apptainer"}
    variables = [
        f"{program}_{name}={path}"
        for program in ("APPTAINER", "SINGULARITY")
        for name, path in folders.items()
    ]
    bundle = scratch / "lent/ca-bundle.crt"
    return [*variables, f"SSL_CERT_FILE={bundle}"] if bundle.exists() else variables


def squashfs_options(runtime: Runtime, compression: str, built_s: int) -> list[str]:
    if "--mksquashfs-args" not in runtime.help_text:
        print("compression: gzip (this runtime's build has no --mksquashfs-args)")
        return []
    words = f"-mkfs-time {built_s} -all-time {built_s}"
    if compression == "zstd":
        level = versions.pins()["SIF_ZSTD_LEVEL"]
        words += f" -comp zstd -Xcompression-level {level}"
    return ["--mksquashfs-args", words]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
