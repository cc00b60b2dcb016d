# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""The errors that the command line tells in one line."""


class UserError(RuntimeError):
    """What the user of a command can mend, in one line."""


class BundleError(UserError):
    """A bundle that is missing, not trusted, broken or not supported, in one line."""
