# SPDX-FileCopyrightText: The monai-shield authors.
# SPDX-License-Identifier: Apache-2.0
"""What every dictionary form of an array transform does."""

from collections.abc import Callable, Hashable, Mapping
from typing import Any, ClassVar

from monai.config import KeysCollection
from monai.transforms import MapTransform
from monai.utils import TransformBackends


class EachKeyd(MapTransform):
    """
    Base of the dictionary forms: an array transform on each key.

    Args:
        keys: keys of what is transformed.
        args: settings of the array transform.
        allow_missing_keys: whether a missing key is passed over.
        settings: settings of the array transform.

    Attributes:
        array: makes the array transform of its settings.
        held_as: name of the attribute that holds it; calibrations record settings by such names.
    """

    array: ClassVar[Callable[..., Callable[[Any], Any]]]
    held_as: ClassVar[str] = "transform"
    backend = [TransformBackends.TORCH]  # noqa: RUF012 - as every MONAI transform declares it

    def __init__(self, keys: KeysCollection, *args: Any, allow_missing_keys: bool = False, **settings: Any) -> None:
        super().__init__(keys, allow_missing_keys)
        setattr(self, self.held_as, type(self).array(*args, **settings))

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        transform, d = getattr(self, self.held_as), dict(data)
        for key in self.key_iterator(d):
            d[key] = transform(d[key])
        return d
