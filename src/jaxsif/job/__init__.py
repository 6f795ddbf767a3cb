"""Job scripts from a profile (resources) and a site (cluster)."""
# SPDX-License-Identifier: Apache-2.0
