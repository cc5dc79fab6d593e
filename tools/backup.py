"""Copy a broker's folder: `python tools/backup.py SOURCE DEST` runs `wonderq folder backup SOURCE DEST`."""

import os
import sys

# Python puts this folder first in the path, where inspect.py would hide the standard library's module.
sys.path[:] = [each for each in sys.path if each != os.path.dirname(os.path.realpath(__file__))]

from wonderq.cli.main import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(["folder", "backup", *sys.argv[1:]]))
