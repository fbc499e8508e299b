"""`python -m robust_lib reproduce | units | notebook | plan | doctor | scorecard | site | accept`."""

from __future__ import annotations

import argparse
import ast
import os
import re
import sys
from pathlib import Path
from typing import Any

import yaml

from robust_lib import params

SCALES = ("micro", "colab", "paper")
ENGINES = "processes, ray, or host:port of a Ray cluster"


def main(arguments: list[str] | None = None) -> int:
    """Run one command; the exit status."""
    given = _parser().parse_args(arguments)
    if given.command == "plan":
        os.environ["HF_HUB_OFFLINE"] = "1"  # before anything reads it: a plan asks no hub
    try:
        if given.command == "doctor":
            from robust_lib import doctor  # before the commands, which import what it may find missing

            asked = {"source": given.source, "encoder": given.encoder}
            return doctor.examine(
                scale=given.scale,
                names=given.notebooks,
                given={name: value for name, value in asked.items() if value is not None},
                extras=given.extras,
                verify=given.verify,
            )
        from robust_lib import commands

        if given.command == "reproduce":
            return commands.reproduce(
                scale=given.scale, seeds=given.seeds, names=given.notebooks, engine=given.engine
            )
        if given.command == "units":
            return commands.units(
                scale=given.scale, names=given.notebooks, engine=given.engine, seeds=given.seeds
            )
        if given.command == "notebook":
            values = {name: value(text) for name, text in given.parameter}
            return commands.notebook(given.name, scale=given.scale, file=given.file, given=values)
        if given.command == "plan":
            return commands.plan(scale=given.scale, names=given.notebooks, gpus=given.gpus)
        if given.command == "accept":
            return commands.accept(given.scale)
        if given.command == "site":
            return commands.site(given.scale)
        return commands.scorecard(given.scale)
    except params.ParameterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("stopped; finished units are kept, the same command goes on from them", file=sys.stderr)
        return 130


def value(text: str) -> Any:
    """A value as typed: a Python literal (2e-5, None, [0, 1]), else as YAML reads it (null, [mnli])."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        pass
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError:
        return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m robust_lib", description="Run the companion's notebooks."
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="command")
    reproduce = commands.add_parser(
        "reproduce", help="every notebook of a scale in order (08_matrix only by name), then the scorecard"
    )
    reproduce.add_argument(
        "--engine", type=_engine, help=f"{ENGINES}: there, first the units of all notebooks at once"
    )
    units = commands.add_parser("units", help="what the notebooks of a scale need, without executing them")
    units.add_argument("--engine", type=_engine, default="processes", help=ENGINES)
    for command in (reproduce, units):
        command.add_argument(
            "--seeds", type=_count, help="how many seeds, counted from 0; else each notebook's own"
        )
    notebook = commands.add_parser("notebook", help="one notebook")
    notebook.add_argument("name", help="its name or number: 01_robustness_study or 01")
    notebook.add_argument(
        "-f", "--file", type=Path, help="a YAML of parameters in the place of the scale's own"
    )
    notebook.add_argument(
        "-p",
        "--parameter",
        nargs=2,
        action="append",
        default=[],
        metavar=("NAME", "VALUE"),
        help="over all others",
    )
    plan = commands.add_parser(
        "plan", help="units, device-hours and disk of a scale, without running anything"
    )
    plan.add_argument(
        "--gpus", type=_count, nargs="+", default=[1, 8, 64], help="for how many GPUs to say the hours"
    )
    doctor = commands.add_parser("doctor", help="what this machine can run, and what to do about each gap")
    doctor.add_argument("--source", help="a data directory, in the place of the scale's own source")
    doctor.add_argument("--encoder", help="an encoder, in the place of the scale's own")
    doctor.add_argument(
        "--extras",
        nargs="+",
        default=[],
        help="also what these extras of pyproject.toml need, as ray or browser",
    )
    doctor.add_argument("--verify", action="store_true", help="read every file of the store")
    site = commands.add_parser("site", help="a static HTML site of what a scale has executed so far")
    scorecard = commands.add_parser("scorecard", help="what came of every cell and claim so far")
    accept = commands.add_parser("accept", help="copy a scale's tables and figures to figures/")
    for command in (reproduce, units, scorecard, accept, doctor, site):
        command.add_argument("--scale", choices=SCALES, default="micro")
    notebook.add_argument("--scale", choices=SCALES)
    plan.add_argument("--scale", choices=SCALES, default="paper")
    for command in (reproduce, units, plan, doctor):
        command.add_argument("--notebooks", nargs="+", default=[], metavar="NAME", help="only these")
    return parser


def _engine(text: str) -> str:
    """Where units run."""
    if not re.fullmatch(params.ENGINE, text):
        raise argparse.ArgumentTypeError(f"{text!r} is not {ENGINES}")
    return text


def _count(text: str) -> int:
    """A number of seeds or GPUs, from 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
