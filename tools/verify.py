"""Check a stopped broker's folder without changing it: `python tools/verify.py DIR`, the same as `wonderq verify DIR`."""

import sys

from wonderq.cli import main

if __name__ == "__main__":
    sys.exit(main(["verify", *sys.argv[1:]]))
