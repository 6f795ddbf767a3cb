"""Treats every warning as an error; runs as a rank."""
# SPDX-License-Identifier: Apache-2.0

import warnings

from _group import add_up, end_well, join

join()
add_up()
warnings.simplefilter("error")
add_up()
end_well()
