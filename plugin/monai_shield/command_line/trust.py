# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Whose code a command runs: a bundle's config is a program, and only a trusted one is opened."""

import logging
from pathlib import Path

from monai_shield.errors import BundleError

logger = logging.getLogger(__name__)


class BundleTrustError(BundleError):
    """A bundle is not trusted, or is not as it was signed, in one line."""


def is_own_bundle(bundle: str | Path) -> bool:
    """
    Whether a bundle is one of this repository's: in ``bundles/`` of the repository the plugin is installed from in
    place, and none of its files is a link to somewhere else. The name of a folder is no proof.

    Args:
        bundle: folder of the bundle.
    """
    plugin = Path(__file__).resolve().parents[2]
    repository = plugin.parent
    if plugin.name != "plugin" or not (repository / "setup.cfg").is_file():
        return False  # copied to where packages lie: what is beside it there is not this repository
    root = Path(bundle).resolve()
    return root.parent == repository / "bundles" and all(
        path.resolve().is_relative_to(root) for path in root.rglob("*") if path.is_symlink()
    )


def check_trust(bundle: str | Path, trust: bool) -> Path:
    """
    The folder of a bundle whose user wants its code to run.

    Args:
        bundle: folder of the bundle.
        trust: whether the caller trusts it. This repository's own bundles are trusted anyway.

    Raises:
        BundleTrustError: where the bundle is not trusted.
    """
    root = Path(bundle).resolve()
    if trust is not True and not is_own_bundle(root):  # "no" and "false" from a command line are not trust either
        raise BundleTrustError(
            f"the bundle in '{root}' was not opened, since that runs the code in its configs and scripts. Say --trust "
            "where you trust it; 'python -m monai_shield verify' checks its signature."
        )
    return root


def require_trust(bundle: str | Path, trust: bool) -> None:
    """Say in one line whose code runs now, after :func:`check_trust`, before anything of the config is evaluated."""
    logger.info("The code of the bundle in '%s' runs now.", check_trust(bundle, trust))
