"""Fail if a lock file names any host but the public index and its file host."""

import re
import sys
from pathlib import Path

PUBLIC = {"https://pypi.org", "https://files.pythonhosted.org"}
FILES = ("uv.lock", "requirements.lock", "requirements-dev.lock")

strange = [
    f"{name}:{number}: {address}"
    for name in FILES
    for number, line in enumerate(Path(name).read_text().splitlines(), start=1)
    for address in re.findall(r"(?:https?|file|ftp|ssh|git)://[^/\s\"']*", line.split("#")[0])
    if address not in PUBLIC
]
if strange:
    sys.exit("\n".join(["Lock files name addresses that are not public:", *strange]))
