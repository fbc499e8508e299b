"""`python -m robust_lib.data export DIR`: a data directory from the hub, for machines without internet."""

import argparse
import sys

from robust_lib.data.export import export, verify
from robust_lib.data.tasks import TASKS, DataError


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 1, reasons on stderr, where data is missing or damaged."""
    parser = argparse.ArgumentParser(prog="python -m robust_lib.data", description=__doc__)
    command = parser.add_subparsers(dest="command", required=True).add_parser(
        "export", help="fill a data directory; resumes"
    )
    command.add_argument("directory")
    command.add_argument(
        "--tasks", nargs="+", choices=list(TASKS), metavar="TASK", help=f"of {', '.join(TASKS)}"
    )
    command.add_argument("--verify", action="store_true", help="only compare the files with the manifest")
    given = parser.parse_args(arguments)
    try:
        if not given.verify:
            export(given.directory, given.tasks)
        damages = verify(given.directory)
    except (DataError, OSError) as error:
        damages = [str(error)]
    print(*damages, sep="\n", file=sys.stderr) if damages else print(f"{given.directory}: complete")
    return 1 if damages else 0


if __name__ == "__main__":
    sys.exit(main())
