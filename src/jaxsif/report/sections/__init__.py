"""The parts of the page: each is a heading, a chart where there is one, and its table; pure."""
# SPDX-License-Identifier: Apache-2.0
