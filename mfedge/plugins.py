"""Rows that others add: MFEDGE_PLUGINS names modules, a comma between, that the command line and its workers import.

Such a module calls `mfedge.formats.table.add`, `mfedge.runtimes.table.add` or `mfedge.families.table.add`; every
command then knows the new row. It is code that the user chose, like a folder on PYTHONPATH.
"""

from __future__ import annotations

import importlib
import os

from mfedge.errors import UsageError

VARIABLE = "MFEDGE_PLUGINS"


def load() -> None:
    """Import every module that MFEDGE_PLUGINS names.

    Raises:
        UsageError: one cannot be imported.
    """
    for name in filter(None, (part.strip() for part in os.environ.get(VARIABLE, "").split(","))):
        try:
            importlib.import_module(name)
        except ImportError as error:
            raise UsageError(f"{VARIABLE}: module {name} cannot be imported: {error}") from None
