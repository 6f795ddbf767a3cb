"""The certificates of a step: its ranks know each other, no other process gets in, and the secret stays private."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import os
import socket
import ssl
import stat
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from jaxsif.start import certificates

SECRET = b"s" * certificates.SECRET_BYTES
STEP = "box.7.0.0"


def context(folder: Path, side: int, secret: bytes, step: str) -> ssl.SSLContext:
    """One side of a connection, with the certificates that a node makes for itself."""
    file = folder / f"{side}-{len(list(folder.iterdir()))}.pem"
    file.write_bytes(certificates.credentials(secret, step, "node1"))
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
        (b"t" * certificates.SECRET_BYTES, STEP),
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

    pem = certificates.credentials(SECRET, STEP, "node1")
    for certificate in x509.load_pem_x509_certificates(pem):
        begins_s = certificate.not_valid_before_utc.timestamp()
        assert begins_s < time.time() - 12 * 3600


def test_the_secret_is_made_once_however_many_ranks_come(tmp_path):
    path = tmp_path / "configuration" / "jax-sif" / "secret"

    with ThreadPoolExecutor(16) as pool:
        secrets = set(pool.map(certificates.user_secret, [path] * 64))

    assert 1 == len(secrets)
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)
    assert 0o700 == stat.S_IMODE(path.parent.stat().st_mode)
    assert ["secret"] == os.listdir(path.parent)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o666])
def test_a_secret_that_others_can_read_is_refused(tmp_path, mode):
    path = tmp_path / "secret"
    path.write_bytes(SECRET)
    path.chmod(mode)

    with pytest.raises(certificates.UnsafeSecretError, match=f"mode {mode:o}"):
        certificates.user_secret(path)


@pytest.mark.parametrize("content", [b"short", b"", SECRET + b"s"])
def test_a_secret_of_another_length_is_refused(tmp_path, content):
    path = tmp_path / "secret"
    path.write_bytes(content)
    path.chmod(0o600)

    with pytest.raises(certificates.UnsafeSecretError, match="does not have 32 bytes"):
        certificates.user_secret(path)


@pytest.mark.parametrize(
    ("number", "error"),
    [
        (errno.EROFS, certificates.NoSecretError),
        (errno.EACCES, certificates.NoSecretError),
        # Another user may have filled the disk: no reason to start without.
        (errno.ENOSPC, OSError),
        (errno.EDQUOT, OSError),
    ],
)
def test_a_full_disk_is_not_taken_for_a_missing_home(
    tmp_path, monkeypatch, number, error
):
    def fail(*words, **options):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "mkstemp", fail)

    with pytest.raises(error):
        certificates.user_secret(tmp_path / "secret")


def test_the_file_has_no_name_and_its_number_is_out_of_the_way():
    number = certificates.reserve_port(b"content")
    try:
        assert number >= 300
        assert 0o600 == stat.S_IMODE(os.fstat(number).st_mode)
        assert 0 == os.fstat(number).st_nlink
        # Each reader begins at the start.
        for _ in range(2):
            assert b"content" == Path(f"/proc/self/fd/{number}").read_bytes()
    finally:
        os.close(number)


def test_without_memory_files_the_first_place_that_has_room_is_taken(
    tmp_path, monkeypatch
):
    def refuse(name: str) -> int:
        raise OSError(errno.ENOSYS, "not implemented")

    full = []
    make = tempfile.TemporaryFile

    def first_is_full(dir: str, **options: Any) -> Any:
        if not full:
            full.append(dir)
            raise OSError(errno.ENOSPC, "No space left on device")
        return make(dir=dir, **options)

    monkeypatch.setattr(certificates.os, "memfd_create", refuse)
    monkeypatch.setattr(tempfile, "TemporaryFile", first_is_full)
    monkeypatch.setenv("TMPDIR", str(tmp_path))

    number = certificates.reserve_port(b"content")

    try:
        assert ["/dev/shm"] == full
        assert 0 == os.fstat(number).st_nlink
        assert b"content" == Path(f"/proc/self/fd/{number}").read_bytes()
        assert [] == os.listdir(tmp_path)
    finally:
        os.close(number)
