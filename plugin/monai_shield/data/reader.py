# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""Reading NIfTI files as the standard says."""

from collections.abc import Sequence
from typing import Any

import nibabel as nib
from monai.config import PathLike
from monai.data import NibabelReader
from monai.utils import ensure_tuple


class StandardNibabelReader(NibabelReader):
    """
    ``monai.data.NibabelReader`` that leaves the header alone: an image's affine is the one that the NIfTI standard
    says, which is nibabel's.

    MONAI's own reader compares the lengths of the affine's columns with ``pixdim`` and, where they differ minutely,
    puts the qform in place of the sform, also where the qform's code is 0, that is, where the file says that it has
    none (``rectify_header_sform_qform`` in ``monai/data/utils.py``, MONAI 1.6.1). Left and right may be swapped by
    that: the qform of a zero quaternion is the identity.

    Args:
        as in MONAI.
    """

    def read(self, data: Sequence[PathLike] | PathLike, **kwargs: Any) -> Any:
        """
        Args:
            data: a file, or several that are stacked as channels.
            kwargs: of ``nibabel.load``.

        Returns:
            a nibabel image, or a list of them.
        """
        self.filenames = ensure_tuple(data)
        images = [nib.load(name, **{**self.kwargs, **kwargs}) for name in self.filenames]
        return images if len(images) > 1 else images[0]
