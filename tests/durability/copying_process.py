"""Run as a process: copies a collection again and again, each time to a new place.

python copying_process.py COLLECTION FOLDER [link]
"""

from __future__ import annotations

import sys
from pathlib import Path

from latewood.stores.backup import copy_collection

if __name__ == "__main__":
    number = sum(1 for path in Path(sys.argv[2]).iterdir() if not path.name.startswith("."))
    while True:
        copy_collection(sys.argv[1], Path(sys.argv[2]) / f"{number}.lw", link=len(sys.argv) > 3)
        number += 1
