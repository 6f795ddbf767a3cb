"""Asks whoever listens at the coordinator's address whether it is a coordinator, and of this step; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import socket
import ssl
import sys
import time
from collections.abc import Mapping

# HTTP/2's first words (RFC 9113, section 3.4) and an empty frame of settings (6.5): a
# gRPC server answers with settings of its own.
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS = 4
_TLS_ALERT = b"\x15\x03"

# A hello is longer than the largest packets there are (9000 bytes), so that a way which
# lets only smaller ones through is noticed, as by the first larger message of JAX. In TLS
# these are protocols that nobody knows; in HTTP/2 a frame of a kind that is unknown, which
# a server skips (RFC 9113, section 5.5).
_PADDING_BYTES = 9216
_PADDING = [f"jax-sif-padding-{i:02d}".ljust(255, ".") for i in range(36)]
_UNKNOWN_FRAME = 0xBE
_PADDING_FRAME = (
    _PADDING_BYTES.to_bytes(3, "big")
    + bytes((_UNKNOWN_FRAME, 0, 0, 0, 0, 0))
    + bytes(_PADDING_BYTES)
)

# struct tcp_info (linux/tcp.h): how often the oldest packet was sent again in vain, how
# many are not acknowledged, and how many came behind one that is missing.
_RETRANSMITS_AT, _UNACKED_AT, _OUT_OF_ORDER_AT, _TCP_INFO_BYTES = 2, 24, 224, 232


def own_certificate(environment: Mapping[str, str]) -> ssl.SSLContext | None:
    """How this rank shows who it is, as JAX will; None where it has no certificate.

    Raises OSError where a file cannot be used.
    """
    certificate = environment.get("JAX_MTLS_CERT_FILE")
    if not certificate:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # A peer is known by the step in its certificate, not by its host.
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
        return "it wants TLS, and this rank has no certificate (JAX_SIF_TLS, see above)"
    return f"it answers {answer!r}"


def _wait_until_delivered(connection: socket.socket) -> None:
    """Raises TimeoutError where the other side has not acknowledged everything in time."""
    deadline_s = time.monotonic() + (connection.gettimeout() or 0.0)
    while _count(_tcp_info(connection), _UNACKED_AT):
        if time.monotonic() > deadline_s:
            raise TimeoutError("not all that was sent is acknowledged")
        time.sleep(0.005)


def loses_packets(connection: socket.socket) -> bool:
    """Whether what was sent on a connection, or its answer, has got lost on the way.

    A listener who is silent acknowledges all the same: his kernel does.
    """
    return shows_loss(_tcp_info(connection))


def shows_loss(info: bytes) -> bool:
    """Whether a `struct tcp_info` tells of packets that do not arrive. Pure."""
    is_unheard = info[_RETRANSMITS_AT] > 1 and _count(info, _UNACKED_AT) > 0
    return is_unheard or _count(info, _OUT_OF_ORDER_AT) > 0


def _tcp_info(connection: socket.socket) -> bytes:
    # Only Linux has it; zeros tell of no loss.
    option = getattr(socket, "TCP_INFO", None)
    if option is None:
        return bytes(_TCP_INFO_BYTES)
    return connection.getsockopt(socket.IPPROTO_TCP, option, _TCP_INFO_BYTES)


def _count(info: bytes, place: int) -> int:
    # An older kernel tells less, and of the rest nothing.
    return int.from_bytes(info[place : place + 4], sys.byteorder)
