"""Files that are either whole or as they were before."""

import os
import uuid
from pathlib import Path


def write(path: Path, content: str | bytes) -> None:
    """Replace a file at once: under a temporary name, flushed to disk, renamed."""
    partial = path.with_name(f".{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        with partial.open("wb") as stream:
            stream.write(content.encode() if isinstance(content, str) else content)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
