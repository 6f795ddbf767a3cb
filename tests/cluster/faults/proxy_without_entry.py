"""Proxy variables with a wildcard in no_proxy, without the image's entry."""
# SPDX-License-Identifier: Apache-2.0

from fault import Fault

FAULT = Fault(
    says=("node1", "https_proxy"),
    environment={
        "https_proxy": "http://10.77.9.9:3128",
        "no_proxy": "*",
        "JAX_SIF_ENTRY": "off",
    },
    has_baseline=False,
)
