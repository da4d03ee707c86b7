"""Rewrite zip archives so that the same contents give the same bytes.

Entries are sorted, times are SOURCE_DATE_EPOCH's, modes are 0644 (0755 for what may be executed),
and nothing else about the machine is kept. The contents are not touched, so a wheel's RECORD holds.
"""

import os
import sys
import time
import zipfile
from pathlib import Path


def seal(path: Path, epoch: int) -> None:
    """Rewrite the archive in place; `epoch` in seconds."""
    moment = time.gmtime(epoch)[:6]
    with zipfile.ZipFile(path) as archive:
        entries = sorted(
            (info.filename, _mode(info), archive.read(info)) for info in archive.filelist
        )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, mode, content in entries:
            info = zipfile.ZipInfo(name, moment)
            info.create_system = 3  # Unix: the modes below are read
            info.external_attr = (0o100000 | mode) << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, content)


def _mode(info: zipfile.ZipInfo) -> int:
    return 0o755 if (info.external_attr >> 16) & 0o100 else 0o644


if __name__ == "__main__":
    for argument in sys.argv[1:]:
        seal(Path(argument), int(os.environ["SOURCE_DATE_EPOCH"]))
