"""Values that a caller hands in. Each is returned as the library takes it, or refused by name."""

from ._errors import InvalidArgument


def text(value, what) -> str:
    """``value``, if it is text that the library can take."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be str, found {type(value).__name__}")
    if "\0" in value:
        raise InvalidArgument(f"{what} has a zero character at {value.index(chr(0))}")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise InvalidArgument(f"{what} has a lone surrogate at {error.start}, which is no text") from error
    return value


def whole(value, what, least=0, most=2**31 - 1):
    """``value`` as an int within its limits."""
    if isinstance(value, bool) or not hasattr(value, "__index__"):
        raise TypeError(f"{what} must be a whole number, found {value!r}")
    found = value.__index__()
    if not least <= found <= most:
        raise InvalidArgument(f"{what} must be {least} to {most}, found {found}")
    return found


def number(value, what):
    """``value`` as a float."""
    try:
        if not isinstance(value, (str, bytes, bytearray, bool)):
            return float(value)
    except OverflowError:
        raise InvalidArgument(f"{what} is too large: {value!r}") from None
    except (TypeError, ValueError):
        pass
    raise TypeError(f"{what} must be a number, found {value!r}")


def share(value, what):
    """A strength: of the noise or of the steps, above 0 and at most 1."""
    found = number(value, what)
    if not 0 < found <= 1:
        raise InvalidArgument(f"{what} must be above 0 and at most 1, found {found}")
    return found
