"""The program as it is linked: addresses that differ from run to run, tables that cannot be written, guards of stacks and of
the C library's functions on buffers.

  hardening_test.py PROGRAM
"""

import re
import subprocess
import sys
import unittest

PROGRAM = None


class HardeningTest(unittest.TestCase):
    def setUp(self):
        run = subprocess.run(["readelf", "-hldW", "--dyn-syms", PROGRAM], capture_output=True, text=True, check=True)
        self.text = run.stdout

    def test_its_addresses_are_drawn(self):
        self.assertRegex(self.text, r"Type:\s+DYN")
        self.assertRegex(self.text, r"FLAGS_1.*PIE")

    def test_its_tables_cannot_be_written(self):
        self.assertIn("GNU_RELRO", self.text)
        self.assertRegex(self.text, r"FLAGS_1.*NOW|BIND_NOW")

    def test_its_stack_holds_no_code(self):
        self.assertRegex(self.text, r"GNU_STACK(\s+0x\w+){5}\s+RW\s")

    def test_its_stacks_and_buffers_are_guarded(self):
        self.assertIn("__stack_chk_fail", self.text)
        self.assertGreater(len(set(re.findall(r"__(\w+)_chk@", self.text))), 2)


if __name__ == "__main__":
    PROGRAM = sys.argv.pop(1)
    unittest.main()
