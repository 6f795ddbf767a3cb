"""The locks and the versions read from them; no network, no image."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import host_settings
import lock
import pytest
import versions

ACCELERATORS = versions.ACCELERATORS
LOCKS = (*ACCELERATORS, versions.REPORT, versions.EXAMPLES, versions.TOOLS)
REQUIREMENT = re.compile(r"^(?P<name>[a-z0-9._-]+)(?P<pin>.*)$", re.MULTILINE)


def requirements(accel: str) -> list[str]:
    """Each requirement with its hashes, as one line."""
    text = versions.lock_path(accel).read_text().replace("\\\n", " ")
    return [line for line in text.splitlines() if line and line[0] not in "#-"]


@pytest.mark.parametrize("accel", LOCKS)
def test_every_requirement_has_one_exact_version_and_a_hash(accel: str) -> None:
    exact = re.compile(r"[a-z0-9._-]+==\S+ .*--hash=sha256:[0-9a-f]{64}")

    loose = [line for line in requirements(accel) if not exact.match(line)]

    assert loose == []


@pytest.mark.parametrize("accel", LOCKS)
def test_a_lock_names_no_index_and_allows_wheels_only(accel: str) -> None:
    lines = versions.lock_path(accel).read_text().splitlines()

    options = [line for line in lines if line.startswith("-")]

    assert options == ["--only-binary :all:"]
    assert not [line for line in lines if "://" in line]


@pytest.mark.parametrize("accel", LOCKS)
def test_a_lock_was_made_from_what_is_asked_for_now(accel: str) -> None:
    header = versions.lock_path(accel).read_text().partition("\n\n")[0]

    assert lock.header(accel).splitlines() == header.splitlines()[:3], (
        "requirements/*.in or image.env changed since: run `make lock`"
    )


def test_the_examples_bring_nothing_that_the_image_has() -> None:
    brought = versions.locked_versions(versions.EXAMPLES)

    assert {"flax", "netket", "orbax-checkpoint"} <= set(brought)
    assert set() == set(brought) & set(versions.locked_versions("cpu"))


def test_all_images_hold_the_same_jax() -> None:
    found = {accel: versions.jax_version(accel) for accel in ACCELERATORS}

    assert len(set(found.values())) == 1, found


def test_the_report_needs_one_wheel_and_no_image_installs_it() -> None:
    (plotly,) = requirements(versions.REPORT)

    assert plotly.startswith("plotly==")
    for accel in ACCELERATORS:
        assert "plotly" not in versions.locked_versions(accel)


def a_wheel(folder: Path) -> Path:
    """A wheel of a package called uv, in a folder for pip's --find-links."""
    folder.mkdir()
    wheel = folder / "uv-1.0-py3-none-any.whl"
    about = "uv-1.0.dist-info/"
    with zipfile.ZipFile(wheel, "w") as file:
        file.writestr("uv.py", "")
        file.writestr(
            f"{about}METADATA", "Metadata-Version: 2.1\nName: uv\nVersion: 1.0\n"
        )
        file.writestr(f"{about}WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        file.writestr(f"{about}RECORD", "")
    return wheel


@pytest.mark.parametrize("is_the_locked_one", [True, False])
def test_the_resolver_is_the_one_whose_hash_is_locked(
    tmp_path: Path, is_the_locked_one: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel = a_wheel(tmp_path / "wheels")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    locked = tmp_path / "tools.txt"
    locked.write_text(
        f"uv==1.0 --hash=sha256:{digest if is_the_locked_one else '0' * 64}\n"
    )
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))

    command = [sys.executable, *lock.pip_install(locked, tmp_path / "new")]
    done = subprocess.run(command, capture_output=True, text=True)

    assert (done.returncode == 0) == is_the_locked_one, done.stderr
    assert (tmp_path / "new/uv.py").exists() == is_the_locked_one


def test_a_lock_for_another_python_is_found_by_its_inputs(tmp_path: Path) -> None:
    for name in ("image.env", "requirements/cpu.in"):
        target = tmp_path / name
        target.parent.mkdir(exist_ok=True)
        target.write_text((versions.CHECKOUT / name).read_text())
    before = versions.lock_inputs_hash("cpu", tmp_path)
    environment = tmp_path / "image.env"
    environment.write_text(environment.read_text().replace("3.13", "3.14"))

    assert before == versions.lock_inputs_hash("cpu")
    assert before != versions.lock_inputs_hash("cpu", tmp_path)


def test_the_image_is_named_after_jax_and_the_accelerator() -> None:
    jax = versions.jax_version("cuda12")

    assert versions.image_name("cuda12") == f"jax-sif-{jax}-cuda12"


@pytest.mark.parametrize(
    ("accel", "components"),
    [
        ("cpu", {"jax", "jaxlib"}),
        ("cuda12", set(versions.COMPONENTS)),
        ("cuda13", set(versions.COMPONENTS)),
    ],
)
def test_the_components_people_ask_for_are_in_the_lock(
    accel: str, components: set[str]
) -> None:
    assert set(versions.component_versions(accel)) == components


@pytest.mark.parametrize(
    ("value", "hint"),
    [("cuda", "did you mean cuda12?"), ("CPU ", "cuda12, cuda13, cpu"), ("", "''")],
)
def test_a_wrong_accelerator_is_answered_with_those_there_are(
    value: str, hint: str
) -> None:
    with pytest.raises(versions.UsageError, match="choose one of") as caught:
        versions.check_accelerator(value)

    assert hint in str(caught.value)


def test_a_wrong_accelerator_ends_the_lock_with_wrong_usage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    status = lock.main(["cuda11"])

    assert status == 2
    assert "ACCEL='cuda11'" in capsys.readouterr().err


def test_only_addresses_that_others_can_reach_leave_the_machine() -> None:
    settings = {
        "index-url": "https://packages.example.org/simple",
        "extra-index-url": "file:///srv/index https://more.example.org/simple /opt/x",
        "find-links": "/srv/wheels",
    }

    assert host_settings.index_addresses(settings) == {
        "index-url": "https://packages.example.org/simple",
        "extra-index-url": "https://more.example.org/simple",
    }


def test_pip_variables_win_over_pip_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = tmp_path / "pip.conf"
    configuration.write_text(
        "[global]\nindex-url = https://file.example.org/simple\ntimeout = 7\n"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(configuration))
    monkeypatch.setenv("PIP_INDEX_URL", "https://variable.example.org/simple")

    settings = host_settings.pip_settings()

    assert settings["index-url"] == "https://variable.example.org/simple"
    assert settings["timeout"] == "7"
