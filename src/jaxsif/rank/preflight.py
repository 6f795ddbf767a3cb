"""Check that a rank can connect, before JAX, whose errors do not name the cause."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import errno
import os
import socket
import ssl
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

from jaxsif.core.errors import Problem
from jaxsif.core.slurm_env import Identity, is_local_launch

_POLL_INTERVAL_S = 0.02
# The kernel retries after 1 s and 3 s; without a reply by then, packets are lost.
_CONNECT_TIMEOUT_S = 5.0
# A name service may hiccup, and a neighbour's hardware address takes a moment.
_RESOLVE_TIMEOUT_S = 3.0

# Errors that do not depend on the coordinator.
_OWN_LIMITS = (
    *(errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM),
    *(errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL),
)

_SAME_STEP = (
    "another step or program listens there: let the image set JAX_COORDINATOR_PORT, or"
    " set it to a free port for every rank"
)


def check_port_free(where: tuple[str, int]) -> Iterator[Problem]:
    """For rank 0: JAX would share the port with another step, or crash (SIGSEGV)."""
    with _any_address() as probe:
        try:
            # Allows a port that was just closed, but not one in use.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(("", where[1]))
            probe.listen(1)
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                yield Problem(
                    "port-taken",
                    f"port {where[1]}, this step's coordinator port, is in use on this"
                    " node by another program or step",
                    "set JAX_COORDINATOR_PORT to a free port for every rank",
                )


def _any_address() -> socket.socket:
    """An IPv6 socket that accepts IPv4 as well, same as gRPC's.

    Python may have IPv6 although this kernel does not.
    """
    try:
        return socket.socket(socket.AF_INET6)
    except OSError:
        return socket.socket(socket.AF_INET)


def check_coordinator_address(
    where: tuple[str, int], identity: Identity, is_chosen: bool
) -> Iterator[Problem]:
    """For rank 0: the other ranks would connect to the wrong node and wait for minutes.

    Args:
      is_chosen: the address is the user's, and may be that of a proxy or a service.
    """
    host, port = where
    if _is_same(host, identity.node):
        return
    try:
        addresses = _resolve(host, port, _RESOLVE_TIMEOUT_S)
    except socket.gaierror:
        # The other ranks report this, since they cannot connect.
        return
    if any(is_own_address(address) is not False for address in addresses):
        return
    source = "the address that was set" if is_chosen else identity.launcher
    yield Problem(
        "coordinator-on-other-node",
        f"rank 0 runs on {identity.node}, but according to {source} the others connect"
        f" to {host} ({', '.join(addresses)})",
        f"set JAX_COORDINATOR_ADDRESS={identity.node}:{port} for every rank, or start"
        f" rank 0 on {host}",
        is_fatal=not is_chosen,
    )


def _is_same(host: str, node: str) -> bool:
    """Whether two names are one node's, with or without a domain."""
    return host.partition(".")[0] == node.partition(".")[0]


def _is_network_address(host: str) -> bool:
    """Whether a host is written as an address, and not that of every node itself."""
    is_address = ":" in host or host.replace(".", "").isdecimal()
    return is_address and not host.startswith(("127.", "::1"))


def reach_coordinator(
    where: tuple[str, int],
    limit_s: float,
    own_node: str,
    environment: Mapping[str, str] = os.environ,
    *,
    has_one_node: bool = False,
    has_late_names: bool = False,
) -> Iterator[Problem]:
    """For all but rank 0: wait until rank 0 listens, and report why if it does not.

    JAX then connects at its first attempt; gRPC retries a refused connection with
    growing pauses, and reports every failure with the same message after 300 s.

    Args:
      limit_s: how long to wait.
      has_one_node: whether all ranks, including rank 0, are on this node.
      has_late_names: whether a name resolves only once its host has started, such as a
        pod's; otherwise an unknown name is soon reported as an error.
    """
    host, port = where
    started_s = time.monotonic()
    try:
        addresses = _resolve(
            host, port, limit_s if has_late_names else _RESOLVE_TIMEOUT_S
        )
    except socket.gaierror as error:
        yield Problem(
            "coordinator-unknown",
            f"the name {host!r} of the coordinator's node cannot be resolved on"
            f" {own_node} ({error.strerror})",
            f"fix name resolution on {own_node} (/etc/hosts, DNS), or set"
            " JAX_COORDINATOR_ADDRESS to an IP address",
        )
        return
    has_one_node = has_one_node or is_local_launch(environment)
    # A network address may be intended for several ranks of this node.
    is_here = _is_same(host, own_node) or _is_network_address(host) or has_one_node
    if not is_here and all(map(is_own_address, addresses)):
        yield Problem(
            "coordinator-resolves-to-self",
            f"on {own_node} the name {host} of the coordinator's node resolves to"
            f" {own_node} itself ({', '.join(addresses)})",
            f"fix the entry for {host} in /etc/hosts on {own_node}, or set"
            " JAX_COORDINATOR_ADDRESS to an IP address",
        )
        return
    yield from _connect(host, port, addresses, started_s + limit_s, environment)


def _resolve(host: str, port: int, timeout_s: float) -> list[str]:
    deadline_s = time.monotonic() + timeout_s
    while True:
        try:
            name = _for_resolver(host)
            found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
            return list(dict.fromkeys(str(entry[4][0]) for entry in found))
        except socket.gaierror:
            if time.monotonic() > deadline_s:
                raise
            time.sleep(10 * _POLL_INTERVAL_S)


def _for_resolver(host: str) -> str | bytes:
    """Encode names that /etc/hosts may have but that DNS and Python would reject."""
    try:
        host.encode("idna")
    except UnicodeError:
        return os.fsencode(host)
    return host


def is_own_address(address: str) -> bool | None:
    """Whether an address is this node's: only then can a socket be bound to it.

    None if unknown.
    """
    if address == "::1" or address.startswith("127."):
        return True
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((address, 0))
    except OSError as error:
        return False if error.errno == errno.EADDRNOTAVAIL else None
    return True


def _connect(
    host: str,
    port: int,
    addresses: list[str],
    deadline_s: float,
    environment: Mapping[str, str],
) -> Iterator[Problem]:
    where = f"{host}:{port} ({', '.join(addresses)})"
    name: Any = _for_resolver(host)
    own = own_certificate(environment)
    unreachable_since_s = None
    while True:
        try:
            with socket.create_connection(
                (name, port), _CONNECT_TIMEOUT_S
            ) as connection:
                yield from _identify_service(connection, where, own, environment)
                return
        except TimeoutError:
            yield Problem(
                "coordinator-packets-dropped",
                f"the coordinator {where} neither accepts nor refuses a connection"
                f" within {_CONNECT_TIMEOUT_S:.0f} s: packets are dropped on the way",
                "allow connections between compute nodes on all ports (firewall,"
                " nftables, security group)",
            )
            return
        except OSError as error:
            if error.errno in _OWN_LIMITS:
                raise
            now_s = time.monotonic()
            if error.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
                unreachable_since_s = unreachable_since_s or now_s
                if now_s - unreachable_since_s > _RESOLVE_TIMEOUT_S:
                    yield _unreachable(where, error)
                    return
            elif now_s > deadline_s:
                yield _refused(where, error)
                return
        time.sleep(_POLL_INTERVAL_S)


def _unreachable(where: str, error: OSError) -> Problem:
    return Problem(
        "coordinator-unreachable",
        f"the coordinator {where} is unreachable: {error.strerror}",
        "check the node's address (/etc/hosts, DNS), and whether its network is up",
    )


def _refused(where: str, error: OSError) -> Problem:
    return Problem(
        "coordinator-not-listening",
        f"rank 0 does not listen at {where}: {error.strerror}",
        "check rank 0's messages; if it is fine, the name has a wrong address here",
    )


def _identify_service(
    connection: socket.socket,
    where: str,
    own: ssl.SSLContext | None,
    environment: Mapping[str, str],
) -> Iterator[Problem]:
    """Check that this step's coordinator listens there, with JAX's protocol."""
    connection.settimeout(_CONNECT_TIMEOUT_S)
    group = environment.get("JAX_MTLS_PEER_URI_PREFIX", "")
    # TLS takes over the connection, and closes it on failure.
    with connection.dup() as same:
        try:
            if own:
                complaint = probe_tls(connection, own, group)
            else:
                complaint = probe_http2(connection)
        except TimeoutError as error:
            if loses_packets(same) and _can_be_reached(same):
                yield _large_packets_lost(where)
                return
            complaint = str(error)
        except OSError as error:
            complaint = str(error)
    if complaint:
        yield Problem(
            "coordinator-wrong-service",
            f"the service at {where} is not this step's coordinator: {complaint}",
            _SAME_STEP,
        )


def _can_be_reached(connection: socket.socket) -> bool:
    """Whether small packets still arrive, enough for another connection."""
    try:
        peer = connection.getpeername()[:2]
        with socket.create_connection(peer, _CONNECT_TIMEOUT_S / 2):
            return True
    except OSError:
        return False


def _large_packets_lost(where: str) -> Problem:
    host = where.partition(":")[0]
    return Problem(
        "large-packets-lost",
        f"large packets to {where} are lost: a connection is made, but only small"
        " packets arrive",
        "compare the MTUs of both nodes (ip link show) and of the switches between"
        f" them; try: ping -M do -s 1472 {host}",
    )


# HTTP/2's preface (RFC 9113, section 3.4) and an empty SETTINGS frame (6.5): a gRPC
# server replies with its own settings.
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS = 4
_TLS_ALERT = b"\x15\x03"

# A hello exceeds the largest packets (9000 bytes), so that a path which drops large
# ones is noticed, same as by JAX's first large message. The padding is, in TLS, unknown
# protocols; in HTTP/2, a frame of unknown type, which a server skips (RFC 9113, 5.5).
_PADDING_BYTES = 9216
_PADDING = [f"jax-sif-padding-{i:02d}".ljust(255, ".") for i in range(36)]
_UNKNOWN_FRAME = 0xBE
_PADDING_FRAME = (
    _PADDING_BYTES.to_bytes(3, "big")
    + bytes((_UNKNOWN_FRAME, 0, 0, 0, 0, 0))
    + bytes(_PADDING_BYTES)
)

# struct tcp_info (linux/tcp.h): retransmissions of the oldest packet, packets not
# acknowledged, and packets that arrived out of order.
_RETRANSMITS_AT, _UNACKED_AT, _OUT_OF_ORDER_AT, _TCP_INFO_BYTES = 2, 24, 224, 232


def own_certificate(environment: Mapping[str, str]) -> ssl.SSLContext | None:
    """This rank's TLS context, same as JAX's; None without a certificate.

    Raises OSError if a file cannot be used.
    """
    certificate = environment.get("JAX_MTLS_CERT_FILE")
    if not certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # A peer is identified by the step in its certificate, not by its host.
    context.check_hostname = False
    context.load_verify_locations(environment.get("JAX_MTLS_CA_FILE") or certificate)
    key = environment.get("JAX_MTLS_KEY_FILE") or None
    context.load_cert_chain(certificate, key)
    context.set_alpn_protocols(["h2", *_PADDING])
    return context


def probe_tls(
    connection: socket.socket, context: ssl.SSLContext, group: str
) -> str | None:
    """What is wrong with a listener that should have a certificate of this step."""
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


def probe_http2(connection: socket.socket) -> str | None:
    """What is wrong with a listener that should be a gRPC server without TLS."""
    connection.sendall(_HTTP2_HELLO)
    answer = connection.recv(64)
    if len(answer) >= 9 and answer[3] == _SETTINGS:
        connection.sendall(_PADDING_FRAME)
        _wait_until_delivered(connection)
        return None
    if not answer or answer.startswith(_TLS_ALERT):
        return (
            "it requires TLS, but this rank has no certificate (JAX_SIF_MTLS, see"
            " above)"
        )
    return f"it replies {answer!r}"


def _wait_until_delivered(connection: socket.socket) -> None:
    """Raise TimeoutError unless the other side acknowledges everything in time."""
    deadline_s = time.monotonic() + (connection.gettimeout() or 0.0)
    while _count(_tcp_info(connection), _UNACKED_AT):
        if time.monotonic() > deadline_s:
            raise TimeoutError("not all that was sent is acknowledged")
        time.sleep(0.005)


def loses_packets(connection: socket.socket) -> bool:
    """Whether packets of a connection were lost.

    Even a silent listener acknowledges: its kernel does.
    """
    return shows_loss(_tcp_info(connection))


def shows_loss(info: bytes) -> bool:
    """Whether a `struct tcp_info` shows lost packets."""
    is_unacknowledged = info[_RETRANSMITS_AT] > 1 and _count(info, _UNACKED_AT) > 0
    return is_unacknowledged or _count(info, _OUT_OF_ORDER_AT) > 0


def _tcp_info(connection: socket.socket) -> bytes:
    # Only Linux has it; zeros mean no loss.
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return bytes(_TCP_INFO_BYTES)
    return connection.getsockopt(socket.IPPROTO_TCP, option, _TCP_INFO_BYTES)


def _count(info: bytes, offset: int) -> int:
    # An older kernel's struct is shorter; missing fields are 0.
    return int.from_bytes(info[offset : offset + 4], sys.byteorder)
