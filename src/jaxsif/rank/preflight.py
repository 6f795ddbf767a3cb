"""Whether a rank can start at all, found before JAX is touched, whose own answers do not tell causes apart; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import os
import socket
import ssl
import time
from collections.abc import Iterator, Mapping

from jaxsif.contract.trouble import Trouble

_POLL_INTERVAL_S = 0.02
# The kernel asks again after 1 s and 3 s; whoever has not answered then does not hear.
_UNANSWERED_S = 5.0
# A name service may hiccup, and a neighbour's hardware address takes a moment.
_PATIENCE_S = 3.0

# HTTP/2's first words (RFC 9113, section 3.4) and an empty frame of settings (6.5): a
# gRPC server answers with settings of its own.
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS = 4
_TLS_ALERT = b"\x15\x03"

_SAME_STEP = (
    "another step or program listens there: let the image set JAX_COORDINATOR_PORT, or"
    " set it to a free port for every rank"
)


def own_port_taken(where: tuple[str, int]) -> Iterator[Trouble]:
    """For rank 0: JAX would share the port with another step, or die of SIGSEGV."""
    with socket.socket(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET) as probe:
        try:
            # What has just been closed may be bound again, what listens may not.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", where[1]))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                yield Trouble(
                    "port-taken",
                    f"port {where[1]}, this step's coordinator port, is in use on this"
                    " node by another program or step",
                    "set JAX_COORDINATOR_PORT to a free port for every rank",
                )


def reach_coordinator(
    where: tuple[str, int],
    limit_s: float,
    own_node: str,
    environment: Mapping[str, str] = os.environ,
) -> Iterator[Trouble]:
    """For all but rank 0: waits until rank 0 listens, and says why if it cannot.

    Connecting works at JAX's first attempt then; gRPC answers a refused one with growing
    pauses, and all failures with the same words after 300 s.
    """
    host, port = where
    started_s = time.monotonic()
    try:
        addresses = _resolve(host, port)
    except socket.gaierror as error:
        yield Trouble(
            "coordinator-unknown",
            f"the name {host!r} of the coordinator's node cannot be resolved on"
            f" {own_node} ({error.strerror})",
            f"mend name resolution on {own_node} (/etc/hosts, DNS), or set"
            " JAX_COORDINATOR_ADDRESS to an IP address",
        )
        return
    if host != own_node and all(map(is_own_address, addresses)):
        yield Trouble(
            "coordinator-misdirected",
            f"{own_node} takes {host}, the coordinator's node, for itself:"
            f" {host} is {', '.join(addresses)} there",
            f"mend {host} in /etc/hosts of {own_node}, or set JAX_COORDINATOR_ADDRESS to"
            " an IP address",
        )
        return
    yield from _connect(host, port, addresses, started_s + limit_s, environment)


def _resolve(host: str, port: int) -> list[str]:
    deadline_s = time.monotonic() + _PATIENCE_S
    while True:
        try:
            found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(entry[4][0]) for entry in found))
        except socket.gaierror:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(10 * _POLL_INTERVAL_S)


def is_own_address(address: str) -> bool:
    """Whether this node answers to an address: only then can a socket be bound to it."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _connect(
    host: str,
    port: int,
    addresses: list[str],
    deadline_s: float,
    environment: Mapping[str, str],
) -> Iterator[Trouble]:
    where = f"{host}:{port} ({', '.join(addresses)})"
    unreachable_since_s = None
    while True:
        try:
            with socket.create_connection((host, port), _UNANSWERED_S) as connection:
                yield from _who_answers(connection, where, environment)
                return
        except TimeoutError:
            yield Trouble(
                "coordinator-filtered",
                f"{where}, the coordinator, does not answer within {_UNANSWERED_S:.0f} s,"
                " nor refuse: packets are dropped on the way",
                "let compute nodes talk to each other on all ports (firewall, nftables,"
                " security group)",
            )
            return
        except OSError as error:
            now_s = time.monotonic()
            if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
                unreachable_since_s = unreachable_since_s or now_s
                if now_s - unreachable_since_s > _PATIENCE_S:
                    yield _unreachable(where, error)
                    return
            elif now_s > deadline_s:
                yield _refused(where, error)
                return
        time.sleep(_POLL_INTERVAL_S)


def _unreachable(where: str, error: OSError) -> Trouble:
    return Trouble(
        "coordinator-unreachable",
        f"there is no way to {where}, the coordinator: {error.strerror}",
        "is that the node's right address (/etc/hosts, DNS), and is its network up?",
    )


def _refused(where: str, error: OSError) -> Trouble:
    return Trouble(
        "coordinator-absent",
        f"nobody listens at {where}, where rank 0 should: {error.strerror}",
        "see what rank 0 says; if it is well, the name has a wrong address here",
    )


def _who_answers(
    connection: socket.socket, where: str, environment: Mapping[str, str]
) -> Iterator[Trouble]:
    """Asks whoever listens for proof, in the way in which JAX will talk to it."""
    connection.settimeout(_UNANSWERED_S)
    credentials = environment.get("JAX_MTLS_CERT_FILE")
    group = environment.get("JAX_MTLS_PEER_URI_PREFIX", "")
    try:
        if credentials:
            complaint = ask_for_certificate(connection, credentials, group)
        else:
            complaint = ask_for_http2(connection)
    except OSError as error:
        complaint = str(error)
    if complaint:
        yield Trouble(
            "coordinator-foreign",
            f"at {where} listens somebody who is not this step's coordinator:"
            f" {complaint}",
            _SAME_STEP,
        )


def ask_for_certificate(
    connection: socket.socket, credentials: str, group: str
) -> str | None:
    """What is wrong with a listener that should have a certificate of this step."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # A peer is known by the step in its certificate, not by its host.
    context.check_hostname = False
    context.load_verify_locations(credentials)
    context.load_cert_chain(credentials)
    context.set_alpn_protocols(["h2"])
    try:
        with context.wrap_socket(connection) as secure:
            names = (secure.getpeercert() or {}).get("subjectAltName", ())
    except ssl.SSLError as error:
        refusal = getattr(error, "verify_message", None)
        return f"TLS fails, {refusal or error.reason}"
    uris = [str(name[1]) for name in names if name[0] == "URI"]
    if group and not any(uri.startswith(group) for uri in uris):
        return f"its certificate is for {uris}, not for {group}"
    return None


def ask_for_http2(connection: socket.socket) -> str | None:
    """What is wrong with a listener that should be a gRPC server without TLS."""
    connection.sendall(_HTTP2_HELLO)
    answer = connection.recv(64)
    if len(answer) >= 9 and answer[3] == _SETTINGS:
        return None
    if not answer or answer.startswith(_TLS_ALERT):
        return "it wants TLS, and this rank has no certificate (JAX_SIF_TLS, see above)"
    return f"it answers {answer!r}"
