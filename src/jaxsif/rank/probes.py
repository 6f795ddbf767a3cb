"""Probe the service at the coordinator's address: is it this step's coordinator?"""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import socket
import ssl
import sys
import time
from collections.abc import Mapping

# HTTP/2's preface (RFC 9113, section 3.4) and an empty SETTINGS frame (6.5): a gRPC
# server replies with its own settings.
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS = 4
_TLS_ALERT = b"\x15\x03"

# A hello exceeds the largest packets (9000 bytes), so that a path which drops large ones
# is noticed, same as by JAX's first large message. The padding is, in TLS, unknown
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
        return "it requires TLS, but this rank has no certificate (JAX_SIF_MTLS, see above)"
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
