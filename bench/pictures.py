"""Is it a whole PNG, and which picture is in it."""

import struct
import zlib

SIGNATURE = b"\x89PNG\r\n\x1a\n"
CHANNELS = {2: 3, 6: 4}  # of colour types: RGB, RGBA


def chunks(data):
    if not data.startswith(SIGNATURE):
        raise ValueError("no PNG: %.20r" % data)
    at = len(SIGNATURE)
    while at < len(data):
        if at + 12 > len(data):
            raise ValueError("a PNG cut short")
        length, kind = struct.unpack_from(">I4s", data, at)
        body = data[at + 8:at + 8 + length]
        if data[at + 8 + length:at + 12 + length] != struct.pack(">I", zlib.crc32(kind + body)):
            raise ValueError("a PNG with a damaged chunk %r, or cut short" % kind)
        yield kind, body
        at += 12 + length


def pixels(data):
    """Size and filtered lines: the same for the same picture from the same encoder, whatever texts are beside it."""
    found = list(chunks(data))
    if not found or found[0][0] != b"IHDR" or found[-1][0] != b"IEND":
        raise ValueError("a PNG without its first or last chunk")
    width, height, depth, colours = struct.unpack_from(">IIBB", found[0][1])
    try:
        lines = zlib.decompress(b"".join(body for kind, body in found if kind == b"IDAT"))
    except zlib.error as error:
        raise ValueError("a PNG with damaged pixels: %s" % error) from error
    if depth != 8 or len(lines) != height * (1 + width * CHANNELS.get(colours, 0)):
        raise ValueError("a PNG of another size than it says")
    return width, height, lines
