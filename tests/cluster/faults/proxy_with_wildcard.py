"""Proxy variables with a wildcard in no_proxy, which gRPC does not support: no fault with the image's entry."""
# SPDX-License-Identifier: Apache-2.0

from fault import PASSES, Fault

FAULT = Fault(
    says=PASSES,
    status=0,
    environment={"https_proxy": "http://10.77.9.9:3128", "no_proxy": "*"},
)
