"""A user's own methods, streams and probes: one Python file, loaded because they named it."""

import importlib.util
import sys
from pathlib import Path
from zlib import crc32

from neoteny.errors import UserError


def load(path: Path) -> None:
    """Run a Python file that adds members to `METHODS`, `STREAMS` or `PROBES`.

    Only files named on the command line or in a call come here; no stored file is ever run.
    """
    try:
        path = Path(path).resolve()
        found = path.is_file() and path.suffix == ".py"
    except (OSError, ValueError):  # too long a name, or one that no file can have
        found = False
    if not found:
        raise UserError(f"`--plugin` is {path}, but needs an existing Python file, as `mine.py`.")
    name = f"neoteny_plugin_{path.stem}_{crc32(str(path).encode()):x}"  # stems may be shared
    if name in sys.modules:
        return
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None and spec.loader is not None  # a .py file always has both
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        said = f"{type(error).__name__}: {error}".rstrip(".: ")
        raise UserError(f"{path} does not load: {said}.") from error
