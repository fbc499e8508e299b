"""`python -m robust_lib.attack doctor`: what an attack finds of its resources; `build`: a table of neighbours."""

import argparse
import sys
from pathlib import Path

from robust_lib.attack import doctor, lexica, tagging


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit status is 1 where a needed resource is missing or a file is wrong."""
    parser = argparse.ArgumentParser(prog="python -m robust_lib.attack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    look = commands.add_parser("doctor", help="list the resources, where they are, and what is missing")
    look.add_argument(
        "--source", default=lexica.MICRO, help="a data directory with lexica/; else the micro world"
    )
    look.add_argument("--sentences", help="the encoder of sentence similarity: a name, directory or hub id")
    make = commands.add_parser(
        "build", help="the table of the 50 nearest neighbours from a file of word vectors"
    )
    make.add_argument("vectors", type=Path, help="text, a line for each word: the word and its numbers")
    make.add_argument("directory", type=Path, help=f"the data directory to write {lexica.TABLE} into")
    given = parser.parse_args(arguments)
    try:
        if given.command == "build":
            print(lexica.build(given.vectors, given.directory))
            return 0
        listed = doctor.resources(given.source, given.sentences)
    except (tagging.ResourceError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    print(*listed, sep="\n")
    return 1 if any(resource.missing for resource in listed) else 0


if __name__ == "__main__":
    sys.exit(main())
