"""Proxy variables are set: no fault with the image's entry, the job passes."""
# SPDX-License-Identifier: Apache-2.0

from fault import PASSES, Fault

FAULT = Fault(
    says=PASSES,
    status=0,
    environment={
        "http_proxy": "http://10.77.9.9:3128",
        "https_proxy": "http://10.77.9.9:3128",
    },
)
