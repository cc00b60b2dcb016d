# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The variants of Dice where images are rejected; the paper does not say which one it reports."""

#: Key in the results to heading in the tables.
DICE_VARIANTS = {
    "reformed": "reformed",
    "accepted": "of the accepted",
    "rejected_as_zero": "rejected as 0",
    "rejected_deferred": "rejected deferred",
}
