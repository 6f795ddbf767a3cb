"""Asks whoever listens at the coordinator's address whether it is a coordinator, and of this step; runs in each rank."""
# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping

# HTTP/2's first words (RFC 9113, section 3.4) and an empty frame of settings (6.5): a
# gRPC server answers with settings of its own.
_HTTP2_HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_SETTINGS = 4
_TLS_ALERT = b"\x15\x03"


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
    context.set_alpn_protocols(["h2"])
    return context


def ask_for_certificate(
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


def ask_for_http2(connection: socket.socket) -> str | None:
    """What is wrong with a listener that should be a gRPC server without TLS."""
    connection.sendall(_HTTP2_HELLO)
    answer = connection.recv(64)
    if len(answer) >= 9 and answer[3] == _SETTINGS:
        return None
    if not answer or answer.startswith(_TLS_ALERT):
        return "it wants TLS, and this rank has no certificate (JAX_SIF_TLS, see above)"
    return f"it answers {answer!r}"
