"""The digest of the base: renewed from the registry's index, or said how."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import base_lock
import pytest
import versions

INDEX = '{"mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []}'


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    for name in ("image.env", "Singularity.def"):
        (tmp_path / name).write_text((versions.CHECKOUT / name).read_text())
    return tmp_path


def skopeo(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "skopeo").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "skopeo").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")


def test_a_new_digest_comes_into_both_files(
    checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    skopeo(checkout, f"printf '%s' '{INDEX}'", monkeypatch)

    base_lock.renew(checkout)

    digest = f"sha256:{hashlib.sha256(INDEX.encode()).hexdigest()}"
    assert digest == versions.pins(checkout)["BASE_DIGEST"]
    recipe = (checkout / "Singularity.def").read_text()
    assert f"    FROM={versions.base_reference(checkout)}\n" in recipe
    assert f"    BASE={versions.base_name(checkout)}\n" in recipe


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo connection refused >&2; exit 1", "connection refused"),
        ('echo \'{"mediaType": "image.manifest.v1+json"}\'', "all architectures"),
    ],
)
def test_without_an_index_nothing_changes_and_the_way_is_said(
    checkout: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    script: str,
    reason: str,
) -> None:
    skopeo(checkout, script, monkeypatch)

    base_lock.renew(checkout)

    said = capsys.readouterr().out
    assert reason in said and "skopeo inspect --raw" in said
    assert versions.pins(checkout) == versions.pins()
