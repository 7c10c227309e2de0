"""One tree of errors of this package, so that a caller can catch everything that it refuses with one clause.

Every message names the field or file, and ends with what to do about it.
"""


class SafetyError(Exception):
    """Base of all errors that this package raises on purpose."""


class PolicyRefused(SafetyError):
    """The text of a policy cannot be read, or asks for what no policy may."""


class TermsRefused(SafetyError):
    """A list of terms has a line that is none."""


class ClassifierUnreadable(SafetyError):
    """The files of a classifier are missing, damaged or do not belong together."""


class WatermarkRefused(SafetyError):
    """A clip, a key or an id is none that a watermark can be made of."""


class ClipTooSmall(WatermarkRefused):
    """A clip has too few cells or too little time to carry a watermark."""


class ChainRefused(SafetyError):
    """Certificates or a key that no clip may be signed with."""


class SigningFailed(SafetyError):
    """A clip was not signed."""


class FileUnreadable(SafetyError):
    """A file is none whose provenance can be read."""


class PromptTooLong(SafetyError):
    """A text of a request has more characters than are judged."""
