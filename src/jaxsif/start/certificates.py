"""Create a step's temporary certificates, and start the program with them."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import contextlib
import datetime
import errno
import fcntl
import ipaddress
import os
import signal
import stat
import sys
import urllib.parse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.x509.oid import NameOID

# The ranks of a step must authenticate before they exchange anything. So every rank
# derives the same authority from what all of them have: the user's secret, in the
# shared home, and the step's name. Each rank creates its own certificate in anonymous
# memory, which another user can neither predict, take, nor fill. Nothing is sent,
# nothing must be removed.

SECRET_BYTES = 32
# Longer than any job; and the clocks of two nodes may be a day apart.
VALID_FOR = datetime.timedelta(days=366)
CLOCK_SKEW = datetime.timedelta(days=1)

_ORDER_OF_P256 = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
# Above the numbers that programs and shell scripts choose for themselves.
_FIRST_DESCRIPTOR = 300
# No home here, or not writable. A full disk is not among them, because another user may
# have filled it.
_NO_PLACE = (errno.ENOENT, errno.ENOTDIR, errno.EACCES, errno.EPERM, errno.EROFS)


class NoSecretError(Exception):
    """No secret can be stored: there is no writable home."""


class UnsafeSecretError(Exception):
    """The user has a secret that must not be used."""


def secret_path(environment: Mapping[str, str]) -> Path:
    """Where the user's secret is: JAX_SIF_SECRET_FILE, or below the home.

    Raises NoSecretError when the environment names neither.
    """
    chosen = environment.get("JAX_SIF_SECRET_FILE")
    if chosen:
        return Path(chosen)
    home = environment.get("HOME")
    configuration = environment.get("XDG_CONFIG_HOME") or (home and f"{home}/.config")
    if not configuration:
        raise NoSecretError("HOME is not set")
    return Path(configuration) / "jax-sif" / "secret"


def user_secret(path: Path) -> bytes:
    """The user's secret, made at its first use; many ranks may come at once.

    Raises NoSecretError when there is no place for it, OSError when it cannot be read
    or made, and UnsafeSecretError when others can read it, or it was cut.
    """
    try:
        with contextlib.suppress(FileNotFoundError):
            return _read_secret(path)
        _make_secret(path)
    except OSError as error:
        # The path may be that of its folder.
        if error.errno in _NO_PLACE:
            raise NoSecretError(_words(error, path)) from error
        raise
    return _read_secret(path)


def _read_secret(path: Path) -> bytes:
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        secret = file.read(SECRET_BYTES + 1)
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid != os.geteuid() or mode & 0o077:
        raise UnsafeSecretError(
            f"{path} belongs to another user, or others can read it (mode {mode:o});"
            " remove it, and a new one is made"
        )
    if len(secret) != SECRET_BYTES:
        raise UnsafeSecretError(
            f"{path} does not have {SECRET_BYTES} bytes; remove it, and a new one is"
            " made"
        )
    return secret


def _make_secret(path: Path) -> None:
    import tempfile

    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".secret-")
    try:
        with open(descriptor, "wb") as file:
            file.write(os.urandom(SECRET_BYTES))
        # A link is made once or not at all, also over NFS: the first rank's secret
        # wins.
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.unlink(name)


def group_uri(step: str) -> str:
    """The name that a certificate of this step carries, and JAX asks of every peer."""
    return f"spiffe://jax-sif/{urllib.parse.quote(step, errors='surrogateescape')}/"


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
    names = [x509.UniformResourceIdentifier(group_uri(step)), *_host_names(coordinator)]
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


def _host_names(host: str) -> list[x509.GeneralName]:
    """The hosts of a certificate: the coordinator, and those that a program may choose.

    An address, or a name in ASCII; others are left out.
    """
    own = os.uname().nodename
    wanted = (host.strip("[]"), own, own.partition(".")[0], "localhost", "127.0.0.1")
    found: list[x509.GeneralName] = []
    for name in dict.fromkeys(filter(None, wanted)):
        with contextlib.suppress(ValueError):
            found.append(x509.IPAddress(ipaddress.ip_address(name)))
            continue
        with contextlib.suppress(UnicodeError):
            found.append(x509.DNSName(name.encode("idna").decode()))
    return found


def _authority_key(secret: bytes, step: str) -> ec.EllipticCurvePrivateKey:
    # 16 bytes more than the order has, so that the remainder is as good as uniform.
    derived = HKDF(
        algorithm=hashes.SHA256(),
        length=48,
        salt=None,
        info=f"jax-sif authority {step}".encode(errors="surrogateescape"),
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


def reserve_port(content: bytes) -> int:
    """A number that only this process and its children have, for a file without a name.

    Raises OSError when there is neither memory nor a disk for it.
    """
    try:
        made = os.memfd_create("jax-sif")
    except OSError:
        # A kernel older than 3.17, or one whose rules forbid it.
        return _keep(_unnamed_file(content))
    # Anonymous memory, so it is written whole.
    os.write(made, content)
    return _keep(made)


def _unnamed_file(content: bytes) -> int:
    """In the first place that has room: its name is random, and removed at once."""
    import tempfile

    places = dict.fromkeys(("/dev/shm", os.environ.get("TMPDIR") or "/tmp", "/tmp"))
    errors = []
    for place in places:
        try:
            with tempfile.TemporaryFile(dir=place, buffering=0) as file:
                if file.write(content) == len(content):
                    return os.dup(file.fileno())
                errors.append(f"{place} is full")
        except OSError as error:
            errors.append(_words(error, place))
    raise OSError("; ".join(errors))


def _keep(made: int) -> int:
    """The same file by a number that the program did not open and is not likely to."""
    os.fchmod(made, 0o600)
    try:
        number = fcntl.fcntl(made, fcntl.F_DUPFD, _FIRST_DESCRIPTOR)
    except OSError:
        # ulimit -n is smaller.
        number = fcntl.fcntl(made, fcntl.F_DUPFD, 3)
    os.close(made)
    return number


def variables(step: str, descriptor: int) -> dict[str, str]:
    """What JAX reads. By the number of this process, which the program keeps, the name
    also holds for the program's children, which do not inherit the descriptor.
    """
    name = f"/proc/{os.getpid()}/fd/{descriptor}"
    return {
        "JAX_MTLS_CERT_FILE": name,
        "JAX_MTLS_KEY_FILE": name,
        "JAX_MTLS_CA_FILE": name,
        "JAX_MTLS_PEER_URI_PREFIX": group_uri(step),
    }


def _words(error: OSError, place: object) -> str:
    return f"{error.filename or place}: {error.strerror or error}"


def become(program: Sequence[str], added: Mapping[str, str]) -> NoReturn:
    """Replaces this process by the program, as if a shell had started it."""
    # As it was before Python changed it (LC_CTYPE, PEP 538).
    block = Path("/proc/self/environ").read_bytes().split(b"\0")
    environment = dict(item.split(b"=", 1) for item in block if b"=" in item)
    environment |= {name.encode(): os.fsencode(text) for name, text in added.items()}
    # Python ignores both, and an ignored signal stays ignored.
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    # A shell knows scripts without a first line, and the words when there is no
    # program.
    words = ["sh", "-c", 'exec "$@"', "jax-sif entry", *program]
    os.execve("/bin/sh", words, environment)


def start() -> NoReturn:
    """As the entry calls it, with the arguments of `main`."""
    # Ctrl-C ends it as it ends a shell.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    sys.exit(main(*sys.argv[1:]))


def main(step: str, coordinator: str, who: str, without: str, *program: str) -> int:
    """Starts the program with certificates of the step, or says why not.

    Args:
      who: this rank, as in `rank 3 on node2`.
      without: what to do where this user can have no secret. `stop`: another node may
        have one, and would wait for this rank for minutes. `warn`, `go`: all ranks are
        in the same place; the first of each node says so.
    """
    try:
        secret = user_secret(secret_path(os.environ))
        added = variables(step, reserve_port(credentials(secret, step, coordinator)))
    except NoSecretError as error:
        if without == "stop":
            return _stop(who, error)
        if without == "warn":
            _print(f"{who}: the group is not authenticated: {error}")
        added = {}
    except UnsafeSecretError as error:
        return _stop(who, error)
    except OSError as error:
        return _stop(who, _words(error, "its certificate"))
    # Whatever else goes wrong here: a rank's first words are no traceback of ours.
    except Exception as error:
        return _stop(who, f"{type(error).__name__}: {error}")
    if added and os.environ.get("JAX_SIF_VERBOSE") == "1":
        name = added["JAX_MTLS_CA_FILE"]
        _print(f"JAX_MTLS_*_FILE={name} (only ranks of step {step} can join)")
    become(program, added)


def _stop(who: str, reason: object) -> int:
    """End this rank: without certificates it joins no peer, or admits any process."""
    _print(
        f"{who}: the group cannot be authenticated: {reason}; name a file on a file"
        " system that all nodes share in JAX_SIF_SECRET_FILE, or start without"
        " certificates: JAX_SIF_MTLS=off"
    )
    return 1


def _print(text: str) -> None:
    # The program may have been started without standard error, or with a full one.
    with contextlib.suppress(OSError):
        os.write(2, f"jax-sif entry: {text}\n".encode(errors="surrogateescape"))
