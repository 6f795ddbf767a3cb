"""The sections of the page: heading, chart if there is one, table."""
# SPDX-License-Identifier: Apache-2.0
