"""Look into a stopped broker's folder without changing it: `python tools/inspect.py DIR`, the same as `wonderq inspect DIR`."""

import os
import sys

# Python puts this folder first, where inspect.py would stand in for the standard library's module of that name.
sys.path[:] = [each for each in sys.path if each != os.path.dirname(os.path.realpath(__file__))]

from wonderq.cli.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(["inspect", *sys.argv[1:]]))
