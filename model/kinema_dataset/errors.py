"""One tree of errors of this package, so that a caller can catch everything that it refuses with one clause.

Every message names the argument or field, and ends with what to do about it.
"""


class DatasetError(Exception):
    """Base of all errors that this package raises on purpose."""


class FramesError(DatasetError):
    """An array is not frames: uint8 of shape (T, H, W, 3)."""


class ThresholdsError(DatasetError):
    """Thresholds contradict each other, or are out of bounds."""


class SignatureError(DatasetError):
    """Signatures that are compared are not of one form, or two clips have the same name."""


class MetadataUnreadable(DatasetError):
    """A file of captions as a whole cannot be read."""


class TarUnreadable(DatasetError):
    """A tar ends early or is none, so that no member after that place can be found."""


class SampleRefused(DatasetError):
    """A sample does not fit into a shard."""


class BrokenShard(DatasetError):
    """Bytes of a shard are not those that were written."""


class BrokenDataset(DatasetError):
    """The index of a dataset is missing, damaged or contradicts itself."""
