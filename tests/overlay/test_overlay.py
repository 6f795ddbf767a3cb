"""Overlay files: created, read, and compared with images."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import platform
import stat
import subprocess
import sys
import tempfile
from importlib import metadata
from pathlib import Path

import pytest
from wheels import put_squashfs_tools, wheel

from jaxsif.cli import main
from jaxsif.core.errors import KitError, UsageError
from jaxsif.overlay import create as making
from jaxsif.overlay import manifest, squashfs
from jaxsif.overlay.create import create
from jaxsif.overlay.manifest import incompatibilities, read, unmet_requirements

# The Python that runs the tests is the image, and pytest one of its packages.
OURS = metadata.version("pytest")


@pytest.fixture
def site(tmp_path, monkeypatch):
    """A folder with an image's list, wheels, and room to build; pip knows no index."""
    monkeypatch.setenv(
        "PATH", f"{put_squashfs_tools(tmp_path / 'tools')}:{os.environ['PATH']}"
    )
    for name in [n for n in os.environ if n.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1")
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "scratch"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "scratch").mkdir()
    image = tmp_path / "packages.txt"
    image.write_text(packages_txt())
    monkeypatch.setattr(making, "IMAGE_PACKAGES_FILE", image)
    wheels = tmp_path / "wheels"
    wheel(wheels, "good", "1.0", "pytest>=2", "helper", scripts=["good-tool"])
    wheel(wheels, "helper", "2.0")
    wheel(wheels, "old", "1.0", "pytest<2")
    wheel(wheels, "deep", "1.0", "old")
    wheel(wheels, "left", "1.0", "helper<2")
    wheel(wheels, "future", "1.0", python=">=3.99")
    wheel(wheels, "native", "1.0", tag="cp27-cp27m-manylinux_2_17_x86_64")
    wheel(wheels, "pytest", "0.1")
    return tmp_path


def packages_txt(key: str = "0123456789abcdef", **others: str) -> str:
    """As image_post.sh has it written, of the Python that runs the tests."""
    names = ("pytest", "pip", "packaging")
    versions = {name: metadata.version(name) for name in names} | others
    lines = [f"{name}=={version}\n" for name, version in sorted(versions.items())]
    return "".join([f"# {key} jax-sif-1.0-cpu (Python 3, here)\n", *lines])


def run(*words: str, capsys) -> tuple[int, str, str]:
    status = main(["packages", *words])
    output = capsys.readouterr()
    return status, output.out, output.err


def make(capsys, *words: str, file: str = "my.sqsh") -> tuple[int, str, str]:
    return run(
        "create", file, "--no-index", "--find-links", "wheels", *words, capsys=capsys
    )


def unpacked(file: Path, folder: Path) -> Path:
    folder.mkdir()
    content = file.read_bytes()
    assert b"hsqs" == content[:4]
    subprocess.run(["tar", "-C", str(folder), "-x"], input=content[4:], check=True)
    return folder


def test_a_file_holds_the_packages_and_nothing_that_the_image_has(site, capsys):
    status, out, err = make(capsys, "good")

    assert 0 == status, err
    root = unpacked(site / "my.sqsh", site / "root")
    (packages,) = root.glob("lib/python3.*/site-packages")
    names = {p.name for p in packages.iterdir()}
    assert {"good", "good-1.0.dist-info", "helper", "helper-2.0.dist-info"} == names
    assert (root / "image.txt").read_text() == packages_txt()
    assert "my.sqsh: 2 packages" in out
    assert "on top of jax-sif-1.0-cpu (Python 3, here)" in out


def test_programs_of_packages_run_by_the_images_python(site, capsys):
    make(capsys, "good")

    program = unpacked(site / "my.sqsh", site / "root") / "bin/good-tool"

    assert f"#!{sys.executable}" == program.read_text().splitlines()[0]
    assert os.access(program, os.X_OK)


def test_byte_code_is_there_and_shows_where_the_file_will_be(site, capsys):
    make(capsys, "good")
    root = unpacked(site / "my.sqsh", site / "root")

    (code,) = root.glob("lib/python3.*/site-packages/good/__pycache__/*.pyc")

    assert b"/opt/jax-sif/env/lib/python3" in code.read_bytes()
    # Bit 0: by hash, bit 1: and never compared (PEP 552).
    assert 1 == int.from_bytes(code.read_bytes()[4:8], "little")


def test_everybody_may_read_what_a_private_umask_made(site, capsys):
    before = os.umask(0o077)
    try:
        make(capsys, "good")
    finally:
        os.umask(before)

    root = unpacked(site / "my.sqsh", site / "root")
    closed = [p for p in root.rglob("*") if not p.stat().st_mode & 0o004]
    assert [] == closed


def test_the_same_packages_make_the_same_file(site, capsys):
    make(capsys, "good", file="one.sqsh")
    make(capsys, "good", file="other.sqsh")

    one, other = (unpacked(site / f"{n}.sqsh", site / n) for n in ("one", "other"))
    files = [p.relative_to(one) for p in sorted(one.rglob("*")) if p.is_file()]
    assert len(files) > 10
    assert [] == [
        f for f in files if (one / f).read_bytes() != (other / f).read_bytes()
    ]


def test_list_info_and_freeze_show_what_is_in_it(site, capsys):
    make(capsys, "good")

    assert (0, "good    1.0  requested\nhelper  2.0\n", "") == (
        run("list", "my.sqsh", capsys=capsys)
    )
    info = run("info", "my.sqsh", capsys=capsys)[1]
    assert "on top of  jax-sif-1.0-cpu (Python 3, here)\n" in info
    assert "requested  good 1.0\n" in info
    frozen = run("freeze", "my.sqsh", capsys=capsys)[1]
    digest = hashlib.sha256((site / "wheels/helper-2.0-py3-none-any.whl").read_bytes())
    assert f"helper==2.0 --hash=sha256:{digest.hexdigest()}\n" in frozen


def test_what_freeze_prints_makes_the_same_packages(site, capsys):
    make(capsys, "good")
    (site / "mine.txt").write_text(run("freeze", "my.sqsh", capsys=capsys)[1])

    status, _, err = make(capsys, "-r", "mine.txt", file="again.sqsh")

    assert 0 == status, err
    before, after = (read(site / name).packages for name in ("my.sqsh", "again.sqsh"))
    assert [(p.name, p.version) for p in before] == [(p.name, p.version) for p in after]


def test_what_was_a_folder_is_not_frozen_and_takes_the_checksums_along():
    image = manifest.parse_image("# 0000000000000000 a\n")
    packages = (
        manifest.Package("mine", "0.1", None, True),
        manifest.Package("x", "1", "ab", False),
    )

    lines = list(manifest.requirements_lines(manifest.Manifest(image, packages, "")))

    assert "# mine==0.1 was a directory; pass it in addition to this file" == lines[1]
    assert "x==1" == lines[2]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["old"], f"old 1.0 requires pytest<2; the image has pytest {OURS}"),
        (["deep"], f"old 1.0 requires pytest<2; the image has pytest {OURS}"),
        (["pytest<2"], f"you request pytest<2; the image has pytest {OURS}"),
        (["wheels/pytest-0.1-py3-none-any.whl"], f"the image has pytest {OURS}, which is never replaced"),
        (["left", "helper==2.0"], "you request helper==2.0; left 1.0 requires helper<2"),
        (["future"], "future requires Python >=3.99, the image has 3."),
        (["native"], "there is no package 'native' for jax-sif-1.0-cpu"),
        (["no-such"], "there is no package 'no-such' for jax-sif-1.0-cpu"),
        (["good==7"], "there is no 'good==7' for jax-sif-1.0-cpu (Python 3, here); the newest"
         " available: 1.0"),
        (["a b"], "pip failed: Invalid requirement: 'a b'"),
        (["-r", "missing.txt"], "Could not open requirements file"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_said_in_the_words_of_people(site, capsys, words, complaint):
    status, out, err = make(capsys, *words)

    assert (1, "") == (status, out)
    assert complaint in err
    assert 1 == err.count("jax-sif:")
    assert left_behind(site) == set()


def left_behind(site: Path) -> set[str]:
    mine = {"tools", "scratch", "packages.txt", "wheels"}
    return {p.name for p in site.iterdir()} - mine | {
        p.name for p in (site / "scratch").iterdir()
    }


def test_what_the_image_has_needs_no_file(site, capsys):
    status, _, err = make(capsys, "pytest")

    assert 2 == status
    assert "the image has all of these packages already" in err


def test_without_a_package_nothing_is_begun(site, capsys):
    status, _, err = make(capsys)

    assert 2 == status
    assert "jax-sif packages create my.sqsh flax" in err


def test_a_network_that_is_not_there_is_named(site, monkeypatch, capsys):
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("PIP_RETRIES", "1")

    status, _, err = run("create", "my.sqsh", "helper", capsys=capsys)

    assert 1 == status
    assert "cannot reach the package index for 'helper'" in err
    assert "--no-index --find-links" in err


def test_a_file_that_is_there_stays_unless_one_says_force(site, capsys):
    (site / "my.sqsh").write_text("by another user")

    status, _, err = make(capsys, "good")

    assert 2 == status
    assert "--force" in err
    assert "by another user" == (site / "my.sqsh").read_text()
    assert 0 == make(capsys, "good", "--force")[0]
    assert 2 == len(read(site / "my.sqsh").packages)


def test_a_full_disk_leaves_nothing(site, monkeypatch, capsys):
    monkeypatch.setenv("FAKE_FULL_DISK", "1")

    status, _, err = make(capsys, "good")

    assert 1 == status
    assert "no space for 'my.sqsh'" in err
    assert left_behind(site) == set()


@pytest.mark.parametrize("number", [2, 15])
def test_an_interrupted_build_leaves_nothing(site, number):
    waiting = site / "tools/mksquashfs"
    waiting.write_text(
        '#!/bin/sh\nprintf hsqs > "$2"\nkill -"$NUMBER" "$PPID"\nsleep 60\n'
    )
    words = [
        "packages",
        "create",
        "my.sqsh",
        "--no-index",
        "--find-links=wheels",
        "good",
    ]
    program = (
        "import sys; from pathlib import Path\n"
        "from jaxsif.overlay import create as making\n"
        "making.IMAGE_PACKAGES_FILE = Path('packages.txt')\n"
        "from jaxsif.cli import main; sys.exit(main(sys.argv[1:]))"
    )

    done = subprocess.run(
        [sys.executable, "-c", program, *words],
        env={**os.environ, "NUMBER": str(number), "TMPDIR": str(site / "scratch")},
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert 128 + number == done.returncode, done.stderr
    assert left_behind(site) == set()


def test_what_a_killed_build_left_is_removed_by_the_next(site, capsys):
    own = f".jax-sif-packages.{platform.node()}-"
    left, elsewhere = site / f"{own}4194305", site / f"{own}4194306"
    running = site / f"{own}{os.getppid()}"
    for path in (left, elsewhere, running):
        path.write_text("hsqs")
    with elsewhere.open() as held:
        # In a container of the same name, whose process numbers are others.
        fcntl.flock(held, fcntl.LOCK_EX)
        make(capsys, "good")

    assert {elsewhere, running} == set(site.glob(f"{own}*"))


@pytest.mark.parametrize("has_links", [True, False])
def test_of_two_at_once_the_second_says_that_there_is_one(
    site, monkeypatch, capsys, has_links
):
    """The first has ended while the second was writing."""
    if not has_links:

        def refuse(*_):
            raise PermissionError(errno.EPERM, "Operation not permitted")

        monkeypatch.setattr(os, "link", refuse)
    tool = site / "tools/mksquashfs"
    tool.rename(site / "tools/real")
    tool.write_text('#!/bin/sh\necho first > my.sqsh\nexec "${0%/*}/real" "$@"\n')
    tool.chmod(0o755)

    status, _, err = make(capsys, "good")

    assert 2 == status
    assert "the file 'my.sqsh' exists already" in err
    assert "first\n" == (site / "my.sqsh").read_text()
    assert {"my.sqsh"} == left_behind(site)


def test_without_hard_links_it_is_written_too(site, monkeypatch, capsys):
    monkeypatch.setattr(os, "link", lambda *_: os.rename("/nothing", "/nothing"))

    assert 0 == make(capsys, "good")[0]
    assert 2 == len(read(site / "my.sqsh").packages)


@pytest.mark.parametrize("mask, mode", [(0o077, 0o600), (0o022, 0o644)])
def test_the_file_is_as_private_as_the_user_is(site, capsys, mask, mode):
    before = os.umask(mask)
    try:
        make(capsys, "good")
    finally:
        os.umask(before)
    assert mode == stat.S_IMODE((site / "my.sqsh").stat().st_mode)


def test_what_is_no_file_is_not_replaced(site, capsys):
    os.mkfifo(site / "my.sqsh")

    assert 2 == make(capsys, "good", "--force")[0]
    assert stat.S_ISFIFO((site / "my.sqsh").stat().st_mode)


def test_a_link_stays_and_its_target_is_replaced(site, capsys):
    (site / "real.sqsh").write_text("old")
    (site / "my.sqsh").symlink_to("real.sqsh")

    assert 0 == make(capsys, "good", "--force")[0]
    assert (site / "my.sqsh").is_symlink()
    assert 2 == len(read(site / "real.sqsh").packages)


@pytest.mark.parametrize("verb", ["list", "info", "freeze", "check"])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (None, "cannot read the packages 'x.sqsh': No such file or directory"),
        ("text", "'x.sqsh' is not a squashfs file"),
        ("hsqs", "cannot read 'x.sqsh' as an overlay of jax-sif packages"),
    ],
)
def test_what_is_no_file_of_packages_is_named(site, capsys, verb, content, complaint):
    if content is not None:
        (site / "x.sqsh").write_text(content)

    status, out, err = run(verb, "x.sqsh", capsys=capsys)

    assert status in (1, 2)
    assert "" == out
    assert complaint in err


def test_outside_an_image_it_says_where_to_run(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    status, _, err = run("create", "my.sqsh", "good", capsys=capsys)

    assert 1 == status
    assert "load the module" in err


def test_packages_fit_the_image_that_they_were_made_for(site, capsys):
    make(capsys, "good")

    assert (0, "my.sqsh: fits jax-sif-1.0-cpu (Python 3, here)\n", "") == (
        run("check", "my.sqsh", capsys=capsys)
    )


def test_another_image_is_refused_with_what_differs(site, capsys):
    make(capsys, "good")
    other = packages_txt("f" * 16, pytest="99.0", more="1.0")
    (site / "packages.txt").write_text(other)

    status, out, _ = run("check", "my.sqsh", capsys=capsys)

    assert 1 == status
    assert f"more none, here 1.0; pytest {OURS}, here 99.0" in out
    assert "jax-sif packages freeze" in out
    assert 0 == run("check", "my.sqsh", "--any-image", capsys=capsys)[0]


def test_what_packages_need_and_the_image_has_not_is_named(site, capsys):
    wheel(site / "wheels", "needs", "1.0", "helper>=3")
    status, _, err = make(capsys, "needs", "--pip=--no-deps")
    assert 0 == status, err

    assert ["needs 1.0 requires helper, which is not installed."] == (
        unmet_requirements(site / "my.sqsh")
    )
    assert 1 == run("check", "my.sqsh", capsys=capsys)[0]


def test_an_image_with_the_same_packages_on_another_python_differs():
    one = manifest.parse_image("# 0000000000000000 a (Python 3.12, here)\nx==1\n")
    other = manifest.parse_image("# 1111111111111111 a (Python 3.13, here)\nx==1\n")

    assert ["a (Python 3.12, here), here a (Python 3.13, here)"] == (
        manifest.differences(one, other)
    )
    assert [] == manifest.differences(one, one)


def test_with_any_image_no_image_is_refused():
    image = manifest.parse_image("# 0000000000000000 a\nx==1\n")
    other = manifest.parse_image("# 1111111111111111 b\nx==2\n")

    assert [] == list(incompatibilities(other, image, is_any_image=True))
    assert 1 == len(list(incompatibilities(other, image, is_any_image=False)))


@pytest.mark.parametrize("text", ["", "x==1\n", "# short name\n"])
def test_what_is_no_list_of_an_image_is_refused(text):
    with pytest.raises(ValueError, match="the first line is"):
        manifest.parse_image(text)


def test_a_file_of_a_later_kit_is_refused():
    with pytest.raises(ValueError, match="schema is 2"):
        manifest.decode('{"schema": 2}', "# 0000000000000000 a\n")


def test_the_file_is_written_by_a_hidden_name_first(site):
    (site / "root").mkdir()
    with pytest.raises(KitError, match="cannot write"):
        squashfs.write(site / "root", site / "no/such/my.sqsh")
    (site / "my.sqsh").touch()
    with pytest.raises(UsageError, match="--force"):
        squashfs.write(site / "root", site / "my.sqsh")


def test_a_folder_that_is_not_there_is_named_before_anything_is_done(site):
    with pytest.raises(UsageError, match="the container sees no directory '/no/such'"):
        create(Path("/no/such/my.sqsh"), ("--", "good"))


def test_a_disk_that_pip_finds_full_is_not_taken_for_that_of_the_file():
    pip_output = "ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\n"

    assert "TMPDIR=" in making.explain_pip_error(pip_output, {}, "image")


def test_a_package_that_only_comes_as_source_says_what_to_do():
    pip_output = "  error: command 'gcc' failed\nERROR: Failed to build mpi4py\n"

    text = making.explain_pip_error(pip_output, {}, "image")

    assert "mpi4py is distributed as source" in text
    assert "--find-links" in text


def test_of_many_versions_in_conflict_some_are_named():
    lines = "".join(f"    x 1.{n} depends on jax<0.{n}\n" for n in range(10, 1, -1))
    pip_output = (
        f"\nThe conflict is caused by:\n{lines}"
        "    The user requested (constraint) jax==0.12.0.1\n\nTo fix this you could"
    )

    text = making.explain_pip_error(pip_output, {"jax": "0.12.0.1"}, "image")

    assert text.startswith("x 1.10 requires jax<0.10; x 1.9 requires")
    assert "and 1 more; the image has jax 0.12.0.1, which is never replaced" in text
