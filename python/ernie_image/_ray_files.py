"""The folder that a batch is drawn into. Each file is written under another name and linked to its own when it is complete: a
machine may end at any moment, and the same row may be drawn on two at once, without a torn file or one that is replaced.

    pictures/7f/KEY.png           with the record of ``ernie-image``, and in ``ernie_image_row`` the digest of what it was made from
    records/7f/KEY.json           key, picture, seed, row and record, for tables
    failed/7f/KEY.DIGEST.json     key, row and reason of what could not be drawn
    attempts/7f/KEY.DIGEST        a byte for each time that drawing it began; taken away when it ended
    temporary/                    what is being written
"""

import errno
import json
import os
import time
import uuid

from ._rows import file_name, folder_name

RECORD_TEXT = "ernie_image"
ROW_TEXT = "ernie_image_row"
_STALE_SECONDS = 3600
_NO_LINKS = (errno.EPERM, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)


class Taken(Exception):
    """The picture of that key was made from another row, model or settings."""


class Folder:
    """One such folder, as any process of the batch sees it."""

    def __init__(self, path):
        self.path = os.path.abspath(os.fsdecode(path))

    def make(self):
        for name in ("pictures", "records", "failed", "attempts", "temporary"):
            os.makedirs(os.path.join(self.path, name), exist_ok=True)
        self.sweep()

    def sweep(self):
        """Takes away what machines that are no more have left half written."""
        folder = os.path.join(self.path, "temporary")
        for name in os.listdir(folder):
            path = os.path.join(folder, name)
            try:
                if time.time() - os.stat(path).st_mtime > _STALE_SECONDS:
                    os.unlink(path)
            except FileNotFoundError:
                continue

    def _file(self, kind, key, ending):
        return os.path.join(self.path, kind, folder_name(key), file_name(key) + ending)

    def picture(self, key):
        return self._file("pictures", key, ".png")

    def record(self, key):
        return self._file("records", key, ".json")

    def failure(self, key, row_digest):
        return self._file("failed", key, f".{row_digest[:16]}.json")

    def _attempts(self, key, row_digest):
        return self._file("attempts", key, f".{row_digest[:16]}")

    def write_once(self, path, data: bytes) -> bool:
        """False if there is a file of that name; it stays as it is."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        temporary = os.path.join(self.path, "temporary", uuid.uuid4().hex)
        with open(temporary, "xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in _NO_LINKS:
                raise
            if os.path.exists(path):
                return False
            os.rename(temporary, path)  # the file system has no links: two machines at the same moment would replace
            return True
        finally:
            try:
                os.unlink(temporary)
            except FileNotFoundError:
                pass
        return True

    def has_picture(self, key, row_digest) -> bool:
        """Whether the row's picture is there, with its record. Raises Taken if it is another row's."""
        path = self.picture(key)
        try:
            texts = _texts(path)
        except FileNotFoundError:
            return False
        if texts.get(ROW_TEXT) != row_digest:
            raise Taken(f"{path} was made from another row, model or settings; give another key, or another folder")
        return True

    def commit(self, key, row_digest, image, record, about):
        """The picture and its record. ``about``: what the record file has besides."""
        from PIL.PngImagePlugin import PngInfo
        import io

        info = PngInfo()
        info.add_text(RECORD_TEXT, json.dumps(record, sort_keys=True))
        info.add_text(ROW_TEXT, row_digest)
        data = io.BytesIO()
        image.save(data, "PNG", pnginfo=info)
        if not self.write_once(self.picture(key), data.getvalue()):
            self.has_picture(key, row_digest)
        self.complete(key, about)

    def complete(self, key, about):
        """Writes the record beside a picture that is there, if a machine ended between the two."""
        path = self.record(key)
        if not os.path.exists(path):
            record = json.loads(_texts(self.picture(key))[RECORD_TEXT])
            self.write_once(path, _json({**about, "picture": os.path.relpath(self.picture(key), self.path), "record": record}))

    def fail(self, key, row_digest, about, kind, reason):
        self.write_once(self.failure(key, row_digest), _json({**about, "kind": kind, "reason": reason}))

    def has_failed(self, key, row_digest) -> bool:
        return os.path.exists(self.failure(key, row_digest))

    def forget_failure(self, key, row_digest):
        _remove(self.failure(key, row_digest))

    def attempts(self, key, row_digest) -> int:
        try:
            return os.stat(self._attempts(key, row_digest)).st_size
        except FileNotFoundError:
            return 0

    def begin_attempt(self, key, row_digest):
        path = self._attempts(key, row_digest)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        try:
            os.write(file, b".")
        finally:
            os.close(file)

    def end_attempts(self, key, row_digest):
        _remove(self._attempts(key, row_digest))


def _remove(path):
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def _texts(path):
    """Of a PNG, which is opened but not decoded."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as image:
            return dict(getattr(image, "text", {}))
    except UnidentifiedImageError:
        return {}


def _json(value) -> bytes:
    return (json.dumps(value, ensure_ascii=False, sort_keys=True) + "\n").encode("utf-8", "backslashreplace")
