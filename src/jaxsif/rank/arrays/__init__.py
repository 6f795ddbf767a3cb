"""Arrays that are spread over all processes; `jaxsif.arrays` is the door. Runs in each rank."""
# SPDX-License-Identifier: Apache-2.0
