"""The one error tree.

    UnsegError                  anything this project refuses to do; the message is for the user
    |-- ParameterError          a parameter, option or params.yaml entry is unknown or out of range
    |-- ExtraError              an optional part of the installation is missing
    |-- DataError               a data set or file is not what its layout promises
    |   |-- ImageError          an image or mask cannot be decoded safely
    |   |-- ManifestError       a protected copy has no complete manifest or differs from it
    |   `-- StorageError        a disk is full, a server does not answer; the run can be continued
    |-- WeightsError            a checkpoint is missing, or its entries do not fit the network
    `-- TrainingError           training cannot continue (for example: the loss is not finite)

Every message names the file or parameter, says what is wrong and what to do.
"""


class UnsegError(Exception):
    """Base of all errors with a message written for the user."""


class ParameterError(UnsegError):
    """A parameter is unknown, of the wrong type or out of range."""


class ExtraError(UnsegError):
    """A package that only some commands need is not installed."""


class DataError(UnsegError):
    """A data set, folder or file is not what its layout promises."""


class ImageError(DataError):
    """An image or mask cannot be decoded safely."""


class ManifestError(DataError):
    """A protected copy has no complete manifest, or differs from it."""


class StorageError(DataError):
    """A disk or server does not work now; what was begun can be continued when it does."""


class WeightsError(UnsegError):
    """A checkpoint is missing or its entries do not fit the network."""


class TrainingError(UnsegError):
    """Training cannot continue."""
