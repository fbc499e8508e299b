"""`python runs_reach.py FOLDER`: code digests before and after edits, each made on disk and seen by a fresh process.

Reads {"names": [...], "edits": [[file, old, new], ...], "loaded": module or null} from stdin and prints one
{name: digest} per edit, the first for the untouched files. `loaded` is only imported to save its time per process.
"""

import importlib
import json
import os
import sys
from pathlib import Path

from robust_lib.runs import reach


def digests(names: list[str]) -> dict[str, str]:
    """In a fork, so that nothing read before an edit is remembered after it."""
    reader, writer = os.pipe()
    if os.fork() == 0:
        os.write(writer, json.dumps({name: reach.code_digest(*name.split(":")) for name in names}).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as stream:
        text = stream.read()
    os.wait()
    return json.loads(text)


def write(path: Path, text: str) -> None:
    path.write_text(text)
    os.utime(path, (0, 0))  # this process is older than the edit, and would refuse it for that


def main() -> None:
    folder, request = Path(sys.argv[1]), json.load(sys.stdin)
    if request["loaded"]:
        importlib.import_module(request["loaded"])
    results = [digests(request["names"])]
    for file, old, new in request["edits"]:
        path = folder / file
        text = path.read_text()
        assert text.count(old) == 1, f"{file}: {old!r} stands there {text.count(old)} times"
        write(path, text.replace(old, new))
        results.append(digests(request["names"]))
        write(path, text)
    print(json.dumps(results))


if __name__ == "__main__":
    main()
