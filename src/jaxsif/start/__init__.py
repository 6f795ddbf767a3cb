"""How a program starts in the image: entry, certificates, exceptions, the tool."""
# SPDX-License-Identifier: Apache-2.0
