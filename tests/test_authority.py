"""The certificates of a step: its ranks know each other, nobody else gets in, and the secret stays private."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import os
import socket
import ssl
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from jaxsif import authority

SECRET = b"s" * authority.SECRET_BYTES
STEP = "box.7.0.0"


def context(folder: Path, side: int, secret: bytes, step: str) -> ssl.SSLContext:
    """One side of a connection, with the certificates that a node makes for itself."""
    file = folder / f"{side}-{len(list(folder.iterdir()))}.pem"
    file.write_bytes(authority.credentials(secret, step, "node1"))
    made = ssl.SSLContext(side)
    made.check_hostname = False
    made.verify_mode = ssl.CERT_REQUIRED
    made.load_verify_locations(file)
    made.load_cert_chain(file)
    return made


def handshake(server: ssl.SSLContext, client: ssl.SSLContext) -> dict:
    """The client's view of the server's certificate; raises where either refuses."""
    ours, theirs = socket.socketpair()
    errors: list[Exception] = []

    def serve() -> None:
        try:
            with server.wrap_socket(theirs, server_side=True) as secure:
                secure.recv(1)
        except (ssl.SSLError, OSError) as error:
            errors.append(error)
            theirs.close()

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        with client.wrap_socket(ours) as secure:
            secure.send(b"x")
            return secure.getpeercert() or {}
    finally:
        ours.close()
        thread.join(10)
        if errors:
            raise errors[0]


def test_two_nodes_of_a_step_know_each_other_without_having_met(tmp_path):
    server = context(tmp_path, ssl.PROTOCOL_TLS_SERVER, SECRET, STEP)
    client = context(tmp_path, ssl.PROTOCOL_TLS_CLIENT, SECRET, STEP)

    certificate = handshake(server, client)

    assert ("URI", "spiffe://jax-sif/box.7.0.0/") in certificate["subjectAltName"]


@pytest.mark.parametrize(
    ("secret", "step"),
    [
        (b"t" * authority.SECRET_BYTES, STEP),
        (SECRET, "box.7.1.0"),
        (SECRET, "box.8.0.0"),
        (SECRET, "box.7.0.1"),
        (SECRET, "bow.7.0.0"),
    ],
)
def test_another_user_job_step_or_restart_is_refused(tmp_path, secret, step):
    server = context(tmp_path, ssl.PROTOCOL_TLS_SERVER, SECRET, STEP)
    client = context(tmp_path, ssl.PROTOCOL_TLS_CLIENT, secret, step)

    with pytest.raises(ssl.SSLError):
        handshake(server, client)


def test_a_clock_that_is_an_hour_late_does_not_matter(tmp_path):
    from cryptography import x509

    pem = authority.credentials(SECRET, STEP, "node1")
    for certificate in x509.load_pem_x509_certificates(pem):
        begins_s = certificate.not_valid_before_utc.timestamp()
        assert begins_s < time.time() - 12 * 3600


def test_the_secret_is_made_once_however_many_ranks_come(tmp_path):
    path = tmp_path / "configuration" / "jax-sif" / "secret"

    with ThreadPoolExecutor(16) as pool:
        secrets = set(pool.map(authority.user_secret, [path] * 64))

    assert 1 == len(secrets)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert 0o700 == stat.S_IMODE(path.parent.stat().st_mode)
    assert ["secret"] == os.listdir(path.parent)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_secret_that_others_can_read_is_refused(tmp_path, mode):
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    path.chmod(mode)

    with pytest.raises(PermissionError, match=f"mode {mode:o}"):
        authority.user_secret(path)


def test_a_secret_of_another_length_is_refused(tmp_path):
    path = tmp_path / "secret"
    path.write_bytes(b"short")
    path.chmod(0o600)

    with pytest.raises(OSError, match="5 bytes, 32 belong there"):
        authority.user_secret(path)


def test_the_files_are_private_and_carry_no_secret(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_SIF_SECRET_FILE", str(tmp_path / "secret"))
    folder = tmp_path / "jax-sif-step"
    folder.mkdir(mode=0o700)

    authority.main(folder, STEP, "node1")

    file = folder / "group.pem"
    assert 0o600 == stat.S_IMODE(file.stat().st_mode)
    secret = (tmp_path / "secret").read_bytes()
    assert secret not in file.read_bytes()
    assert secret.hex().encode() not in file.read_bytes()


def test_where_no_secret_can_be_had_the_reason_stands_in_the_place(
    tmp_path, monkeypatch
):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("JAX_SIF_SECRET_FILE", str(tmp_path / "file" / "secret"))
    folder = tmp_path / "jax-sif-step"
    folder.mkdir()

    authority.main(folder, STEP, "node1")

    assert ["reason"] == os.listdir(folder)
    assert "File exists" in (folder / "reason").read_text()


def test_what_old_steps_left_is_removed_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setenv("JAX_SIF_SECRET_FILE", str(tmp_path / "secret"))
    old, fresh, other = (
        tmp_path / name for name in ("jax-sif-old", "jax-sif-new", "others")
    )
    for folder in (old, fresh, other):
        folder.mkdir()
    for folder in (old, other):
        os.utime(folder, (0, 0))

    authority.main(fresh, STEP, "node1")

    assert {"jax-sif-new", "others", "secret"} == set(os.listdir(tmp_path))
