"""``python -m ernie_image`` and ``ernie-image``: the program of the project, which the package carries."""

import os
import sys


def main():
    program = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bin", "ernie-image")
    if not os.access(program, os.X_OK):
        sys.exit(f"{program} is not there: this package was built without the program")
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(program, [program, *sys.argv[1:]])


if __name__ == "__main__":
    main()
