"""Calls of the system that fail while a test says so, by preload.cpp."""

import contextlib
import os
import tempfile


class FailingCalls:
    """A folder in which files make calls of programs fail that run in `environment`. Use with `with`."""

    def __init__(self, preload):
        self._folder = tempfile.TemporaryDirectory()
        self.environment = {"LD_PRELOAD": preload, "ERNIE_IMAGE_TEST_FAULTS": self._folder.name,
                            "ASAN_OPTIONS": "verify_asan_link_order=0"}

    @contextlib.contextmanager
    def failing(self, call, number):
        path = os.path.join(self._folder.name, call)
        with open(path + ".new", "w", encoding="ascii") as file:
            file.write(str(number))
        os.rename(path + ".new", path)
        try:
            yield
        finally:
            os.remove(path)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._folder.cleanup()
