"""Exceptions. Each is an :class:`Error`, and also the built-in exception that a caller would expect."""


class Error(Exception):
    """Whatever a user, a file or a device has caused. The text says where, what was found, what was expected, what to do."""


class InvalidArgument(Error, ValueError):
    """A call that cannot be served as asked."""


class NotFound(Error, FileNotFoundError):
    """A file, folder, model or device that is not there."""


class CorruptFile(Error, ValueError):
    """A file that is not what it claims to be, or is cut short."""


class Unsupported(Error, RuntimeError):
    """Well-formed, but nothing that this build, device or process can do."""


class OutOfMemory(Error, MemoryError):
    """What is asked for does not fit in memory, or an allocation failed."""


class DeviceError(Error, RuntimeError):
    """A device or its driver failed."""


class FileError(Error, OSError):
    """The operating system refused to read or write."""


class Cancelled(Error):
    """The work was asked to stop."""


class Busy(Error, RuntimeError):
    """The pipeline is at work in another thread, or in the call whose callback this is."""


_CLASSES = {
    "invalid_argument": InvalidArgument,
    "not_found": NotFound,
    "corrupt_file": CorruptFile,
    "unsupported": Unsupported,
    "out_of_memory": OutOfMemory,
    "device": DeviceError,
    "io": FileError,
    "cancelled": Cancelled,
    "busy": Busy,
}


def make(kind, message):
    """The exception of a status of the C API. Called by the module."""
    return _CLASSES.get(kind, Error)(message)
