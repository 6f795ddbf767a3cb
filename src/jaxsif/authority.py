"""Makes the throw-away certificates with which the ranks of one step know each other; called by the entry, in the container."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import datetime
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import NameOID

# The ranks of a step never meet before they are authenticated. So every node derives
# the same authority from what all of them have: a secret of the user's, in the shared
# home, and the step's name. The certificate that proves a rank is made by each node for
# itself. Nothing is looked up, nothing is sent.

SECRET_BYTES = 32
# Longer than any job; and the clocks of two nodes may be a day apart.
VALID_FOR = datetime.timedelta(days=366)
CLOCK_SKEW = datetime.timedelta(days=1)
# A folder is needed for moments, while the ranks of a step start on this node; a rank
# that comes later makes one of its own. It stays where one was killed before.
STALE_AFTER_S = 120.0

_ORDER_OF_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def secret_path() -> Path:
    """Where the user's secret lies: JAX_SIF_SECRET_FILE, or below the home."""
    chosen = os.environ.get("JAX_SIF_SECRET_FILE")
    if chosen:
        return Path(chosen)
    configuration = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return Path(configuration) / "jax-sif" / "secret"


def user_secret(path: Path) -> bytes:
    """The user's secret, made at its first use; many ranks may come at once.

    Raises OSError when it cannot be read or made, and PermissionError when others can
    read it.
    """
    if not path.exists():
        _make_secret(path)
    status = path.stat()
    if status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PermissionError(
            f"{path} belongs to another user, or others can read it"
            f" (mode {status.st_mode & 0o777:o}); remove it, a new one is made"
        )
    secret = path.read_bytes()
    if len(secret) != SECRET_BYTES:
        raise OSError(f"{path} has {len(secret)} bytes, {SECRET_BYTES} belong there")
    return secret


def _make_secret(path: Path) -> None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".secret-")
    try:
        with open(descriptor, "wb") as file:
            file.write(os.urandom(SECRET_BYTES))
        # A link is made once or not at all, also over NFS: the first rank's secret wins.
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.unlink(name)


def group_uri(step: str) -> str:
    """The name that a certificate of this step carries, and JAX asks of every peer."""
    return f"spiffe://jax-sif/{step}/"


def credentials(secret: bytes, step: str, coordinator: str) -> bytes:
    """PEM: a private key, its certificate, and the certificate of the step's authority.

    Args:
      secret: the user's.
      step: `cluster.job.step.restart`.
      coordinator: the host that peers ask for. They look at the step's URI alone, but
        gRPC prints an error line for a certificate that does not name the host.
    """
    authority = _authority_key(secret, step)
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jax-sif authority")])
    root = (
        _certificate(name, name, authority.public_key())
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(authority, hashes.SHA256())
    )
    rank = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "jax-sif rank")])
    names = [
        x509.UniformResourceIdentifier(group_uri(step)),
        x509.DNSName(coordinator),
    ]
    leaf = (
        _certificate(rank, name, key.public_key())
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .sign(authority, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    return (
        key.private_bytes(
            encoding,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + leaf.public_bytes(encoding)
        + root.public_bytes(encoding)
    )


def _authority_key(secret: bytes, step: str) -> ec.EllipticCurvePrivateKey:
    # 16 bytes more than the order has, so that the remainder is as good as uniform.
    derived = HKDF(
        algorithm=hashes.SHA256(),
        length=48,
        salt=None,
        info=f"jax-sif authority {step}".encode(),
    ).derive(secret)
    scalar = int.from_bytes(derived, "big") % (_ORDER_OF_P256 - 1) + 1
    return ec.derive_private_key(scalar, ec.SECP256R1())


def _certificate(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - CLOCK_SKEW)
        .not_valid_after(now + VALID_FOR)
    )


def _put(folder: Path, name: str, content: bytes) -> None:
    """In one piece: the other ranks of the node wait for the file to be there."""
    new = folder / f".{name}"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:
        file.write(content)
    new.rename(folder / name)


def _sweep(place: Path) -> None:
    """Removes what steps left whose ranks did not all come."""
    for folder in place.glob("jax-sif-*"):
        with contextlib.suppress(OSError):
            status = folder.lstat()
            is_stale = time.time() - status.st_mtime > STALE_AFTER_S
            if status.st_uid == os.geteuid() and is_stale:
                shutil.rmtree(folder)


def main(folder: Path, step: str, coordinator: str) -> int:
    """Writes `group.pem` into the private folder, or `reason`: why there is none."""
    _sweep(folder.parent)
    try:
        secret = user_secret(secret_path())
        _put(folder, "group.pem", credentials(secret, step, coordinator))
    except OSError as error:
        _put(folder, "reason", f"{error}\n".encode())
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
