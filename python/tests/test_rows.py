"""Rows of a list and the folder that it is drawn into, without Ray: what ernie_image.ray stands on."""
import json
import os
import pathlib
import tempfile
import threading
import unittest

from PIL import Image

from ernie_image import _rows
from ernie_image._ray_files import Folder, Taken

RECORD = {"prompts": ["a cat"]}


class Rows(unittest.TestCase):
    def test_a_key_is_one_file_in_the_folder_whatever_it_has(self):
        keys = ["a", "..", ".", ".hidden", "../../etc/passwd", "a/b", "a%2Fb", "\u732b", "a\nb", "A"]
        names = [_rows.file_name(_rows.key_of({"prompt": "x", "key": key})) for key in keys]
        self.assertEqual(len(set(names)), len(keys))
        for name in names:
            self.assertFalse(name.startswith(".") or "/" in name or "\n" in name, name)
        for key in ("", "x" * 201, "\ud800", True, 1.5, ["a"]):
            with self.assertRaises(_rows.BadRow):
                _rows.key_of({"prompt": "x", "key": key})
        self.assertEqual(_rows.key_of({"prompt": "x", "key": 7}), "7")

    def test_equal_rows_without_a_key_are_one(self):
        first = _rows.key_of({"prompt": "x", "height": 16})
        self.assertEqual(_rows.key_of({"height": 16, "prompt": "x", "key": None}), first)
        self.assertNotEqual(_rows.key_of({"prompt": "x", "height": 32}), first)

    def test_lines(self):
        self.assertIsNone(_rows.parse_line(b"  # comment"))
        self.assertEqual(_rows.parse_line('{"prompt": "\u2028"}\r'.encode()), {"prompt": "\u2028"})
        for line in (b"nonsense", b"3", b'{"a": NaN}', b'{"a": 1, "a": 2}', b'"\xff"', b"[" * 100000, b" " + b"1" * 1_000_001):
            with self.assertRaises(_rows.BadRow):
                _rows.parse_line(line)

    def test_values(self):
        for row in ({}, {"prompt": None}, {"prompt": "x", "seed": -1}, {"prompt": "x", "seed": 2**64}, {"prompt": "x", "height": True},
                    {"prompt": "x", "height": 16.0}, {"prompt": "x", "use_pe": 1}, {"prompt": "x", "heigth": 16}):
            with self.assertRaises(_rows.BadRow):
                _rows.check(row)
        _rows.check({"prompt": "x", "guidance_scale": 4, "caption": []}, keep=("caption",))


class Folders(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Folder(folder.name)
        self.folder.make()
        self.image = Image.new("RGB", (16, 16), "red")

    def files(self):
        return sorted(str(path.relative_to(self.folder.path)) for path in pathlib.Path(self.folder.path).rglob("*") if path.is_file())

    def test_of_two_writers_the_first_stays(self):
        path = os.path.join(self.folder.path, "file")
        start = threading.Barrier(8)
        won = []

        def write(number):
            start.wait()
            if self.folder.write_once(path, str(number).encode() * 100_000):
                won.append(number)

        threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        self.assertEqual(len(won), 1)
        self.assertEqual(pathlib.Path(path).read_text(), str(won[0]) * 100_000)
        self.assertEqual(self.files(), ["file"])

    def test_a_picture_has_its_record_and_is_of_one_row(self):
        self.folder.commit("k", "digest", self.image, RECORD, {"key": "k"})
        self.assertTrue(self.folder.has_picture("k", "digest"))
        self.assertFalse(self.folder.has_picture("other", "digest"))
        before = pathlib.Path(self.folder.picture("k")).stat().st_ino
        self.folder.commit("k", "digest", self.image, RECORD, {"key": "k"})  # drawn twice at once: the first stays
        self.assertEqual(pathlib.Path(self.folder.picture("k")).stat().st_ino, before)
        with self.assertRaises(Taken):
            self.folder.commit("k", "another", self.image, RECORD, {"key": "k"})
        pathlib.Path(self.folder.picture("k")).write_bytes(b"torn by another program")
        with self.assertRaises(Taken):
            self.folder.has_picture("k", "digest")

    def test_a_machine_that_ends_between_picture_and_record_is_made_good(self):
        self.folder.commit("k", "digest", self.image, RECORD, {"key": "k"})
        path = pathlib.Path(self.folder.record("k"))
        written = path.read_text()
        path.unlink()
        self.folder.complete("k", {"key": "k"})
        self.assertEqual(path.read_text(), written)
        self.assertEqual(json.loads(written)["record"], RECORD)

    def test_what_dead_machines_left_is_swept(self):
        old, new = (pathlib.Path(self.folder.path, "temporary", name) for name in ("old", "new"))
        for path in (old, new):
            path.write_text("half")
        os.utime(old, (0, 0))
        self.folder.sweep()
        self.assertEqual(self.files(), ["temporary/new"])

    def test_attempts_are_counted_until_they_end(self):
        for count in range(3):
            self.assertEqual(self.folder.attempts("k", "digest"), count)
            self.folder.begin_attempt("k", "digest")
        self.folder.end_attempts("k", "digest")
        self.folder.end_attempts("k", "digest")
        self.assertEqual(self.files(), [])


if __name__ == "__main__":
    unittest.main()
