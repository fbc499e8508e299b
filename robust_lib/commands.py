"""What the command line does: choose notebooks, check all of their parameters, execute, sum up."""

from __future__ import annotations

import json
import os
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from robust_lib import execution, params, runs

MATRIX = "08_matrix"


@dataclass(frozen=True)
class Job:
    """A notebook to execute: its py:percent file, its scale, the values that differ from its tagged cell.

    `origin` says where those were written.
    """

    notebook: Path
    scale: str
    values: Mapping[str, Any]
    origin: str

    @property
    def output(self) -> Path:
        """Where the executed notebook is written."""
        return outputs(self.scale) / "notebooks" / f"{self.notebook.stem}.ipynb"


def reproduce(
    *, scale: str, seeds: int | None = None, names: Sequence[str] = (), engine: str | None = None
) -> int:
    """Every notebook of a scale (or those named) in number order, then the scorecard.

    The parameters of all are checked before the first kernel starts; a failing notebook stops no other.
    `seeds` counts them from 0. With an `engine` the units of all notebooks are first run on it at once, those that
    several need once. Returns the exit status: 1 if any notebook failed.
    """
    given: dict[str, Any] = {} if seeds is None else {"seeds": list(range(seeds))}
    given |= {} if engine is None else {"engine": engine}
    jobs = prepare(choose(names, scale), scale=scale, given=given)
    preflight(jobs)
    failures = {} if engine is None else at_once(jobs, scale=scale, engine=engine)
    status = execute_all([job for job in jobs if job.notebook.stem not in failures])
    for name, failure in failures.items():
        print(f"{name}: not executed, {failure}", file=sys.stderr)
    scorecard(scale)
    return 1 if failures else status


def units(
    *, scale: str, names: Sequence[str] = (), engine: str = "processes", seeds: int | None = None
) -> int:
    """Run the units of a scale's notebooks and execute none: what `reproduce` then finds in the store. Exit status.

    In each process of `accelerate launch`, which then train every model together.
    """
    given: dict[str, Any] = {"engine": engine} | ({} if seeds is None else {"seeds": list(range(seeds))})
    jobs = prepare(choose(names, scale), scale=scale, given=given)
    preflight(jobs)
    return 1 if at_once(jobs, scale=scale, engine=engine) else 0


def at_once(jobs: Sequence[Job], *, scale: str, engine: str) -> dict[str, str]:
    """Run the units of all jobs on an engine; notebooks that need a unit which failed, with what to know of it.

    Units that a notebook asks for only after it has seen others' results are left to the notebook.
    """
    from robust_lib import plan  # here: it loads torch

    asked = {job.notebook.stem: plan.units(job.notebook, job.values) for job in jobs}
    run = runs.start("at_once", {"scale": scale, "engine": engine})
    print(f"the units of {len(jobs)} notebooks on {engine}", flush=True)
    try:
        run.complete([unit for units in asked.values() for unit in units])
    except (runs.EngineError, runs.StoreFull) as error:
        print(f"error: {error}", file=sys.stderr)
        return dict.fromkeys(asked, "its units were not run")
    except runs.UnitsFailed as error:
        print(error, file=sys.stderr)
        failed = {unit: str(reason) for unit, reason in error.failures}
        needing = {
            name: [unit for unit in runs.closure(units) if unit in failed] for name, units in asked.items()
        }
        return {name: f"{units[0].label}: {failed[units[0]]}" for name, units in needing.items() if units}
    return {}


def notebook(name: str, *, scale: str | None, file: Path | None, given: Mapping[str, Any]) -> int:
    """One notebook, with the values of a scale or of `file`, and over them what is `given`. Exit status."""
    jobs = prepare([find(name)], scale=scale, file=file, given=given)
    preflight(jobs)
    return execute_all(jobs)


def plan(*, scale: str, names: Sequence[str] = (), gpus: Sequence[int] = (1, 8, 64)) -> int:
    """Print what a scale would cost, also on so many GPUs. Exit status."""
    from robust_lib import plan  # here: it loads torch, which executing notebooks does not need

    jobs = prepare(choose(names, scale), scale=scale)
    units = {job.notebook.stem: plan.units(job.notebook, job.values) for job in jobs}
    print(f"plan, scale {scale}: nothing is run")
    print(plan.report(units, _run(scale).store, gpus))
    return 0


def scorecard(scale: str) -> int:
    """Print what came of every cell and claim so far, and where that is written. Exit status 1 if nowhere."""
    path = outputs(scale) / "scorecard.json"
    if not path.exists():
        print(f"no scorecard yet: {path} is written by the notebooks that make tables")
        return 1
    from robust_lib import report  # here: it loads matplotlib

    print(report.summary(path))
    print(path)
    return 0


def accept(scale: str) -> int:
    """Copy a scale's tables, figures, manifests and scorecard to `figures/`, which is committed. Exit status.

    The folders of the notebooks that were run are replaced, and no others. Pictures go as PNG and tables as CSV and
    Markdown alone; executed notebooks and run records stay with the run.
    """
    source, target = outputs(scale), runs.home() / "figures" / scale
    manifests = sorted(source.glob("*/manifest.json"))
    if not manifests:
        print(f"nothing to accept: {source} holds no tables and no figures")
        return 1
    for path in manifests:  # each lists what its last run left, and nothing older
        manifest = json.loads(path.read_text(encoding="utf-8"))
        manifest["files"] = {
            name: file for name, file in manifest["files"].items() if not name.endswith((".svg", ".tex"))
        }
        folder = target / path.parent.name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for name in manifest["files"]:
            shutil.copyfile(path.parent / name, folder / name)
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    if (source / "scorecard.json").exists():
        shutil.copyfile(source / "scorecard.json", target / "scorecard.json")
    print(f"{len(manifests)} notebooks' tables and figures accepted into {target}")
    return 0


def site(scale: str) -> int:
    """Build a static HTML site of what a scale has executed so far. Exit status 1 if that is nothing."""
    try:
        from robust_lib import site  # here: it loads Sphinx, an extra
    except ModuleNotFoundError as error:
        raise params.ParameterError(f"{error}: pip install 'robust-lib[site]'") from error

    try:
        print(site.build(outputs(scale), available(), scale=scale))
    except site.SiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def outputs(scale: str) -> Path:
    """Where executed notebooks, tables, figures and the scorecard of a scale go."""
    return _run(scale).directory.parent


def _run(scale: str) -> runs.Run:
    """A run that touches nothing: it knows where outputs and store are."""
    with runs.planning():
        return runs.start("any", {"scale": scale})


def available() -> list[Path]:
    """The notebooks of this checkout in number order; away from one, those that this package came with."""
    folders = [runs.home() / "notebooks"]
    if not os.environ.get("ROBUST_HOME"):
        folders.append(params.project() / "notebooks")
    for folder in folders:
        if found := sorted(folder.glob("[0-9][0-9]_*.py")):
            return found
    raise params.ParameterError(
        f"{folders[0]}: no notebooks here; set ROBUST_HOME to the project's directory"
    )


def find(name: str) -> Path:
    """A notebook by its name or number."""
    stems = {path.stem: path for path in available()}
    stem = Path(name).stem
    by_number = [path for key, path in stems.items() if key.partition("_")[0] == stem]
    if stem not in stems and not by_number:
        raise params.ParameterError(f"no notebook {name!r}; {params.nearest(stem, stems)}")
    return stems[stem] if stem in stems else by_number[0]


def choose(names: Sequence[str], scale: str) -> list[Path]:
    """The named notebooks, or all that have values for the scale; says which have none.

    The matrix, an hour by itself, is taken only by its name.
    """
    if names:
        return [find(name) for name in names]
    usual = [path for path in available() if path.stem != MATRIX]
    with_values = [path for path in usual if scale == "micro" or parameter_file(path, scale).exists()]
    for path in sorted(set(usual) - set(with_values)):
        print(f"{path.stem}: left out, it has no scale {scale} ({parameter_file(path, scale)})")
    return with_values


def parameter_file(notebook: Path, scale: str) -> Path:
    """Where a notebook's values of the colab or paper scale stand."""
    return notebook.parents[1] / "params" / scale / f"{notebook.stem}.yaml"


def prepare(
    notebooks: Sequence[Path],
    *,
    scale: str | None,
    file: Path | None = None,
    given: Mapping[str, Any] | None = None,
) -> list[Job]:
    """Check the parameters of every notebook: one ParameterError lists the problems of all of them."""
    jobs, problems = [], []
    for path in notebooks:
        try:
            jobs.append(_job(path, scale, file, given or {}))
        except params.ParameterError as error:
            problems.append(str(error))
    if problems:
        raise params.ParameterError("\n".join(problems))
    return jobs


def _job(notebook: Path, scale: str | None, file: Path | None, given: Mapping[str, Any]) -> Job:
    named = scale or given.get("scale")
    if file is None and named in ("colab", "paper"):  # or micro's values would run under that scale's name
        file = parameter_file(notebook, named)
        if not file.exists():
            raise params.ParameterError(f"{notebook.stem} has no scale {named}: there is no {file}")
    checked = params.gather(notebook, file=file, given=given)
    if scale is not None and checked.scale != scale:
        raise params.ParameterError(
            f"{file or notebook}: scale = {checked.scale!r}, but --scale {scale} was asked"
        )
    tagged = params.gather(notebook).model_dump()  # checked as well: 1 is 1.0, an encoder's name a member
    values = {name: value for name, value in checked.model_dump().items() if value != tagged[name]}
    return Job(notebook, checked.scale, values, params.origin(notebook, file, given))


def preflight(jobs: Sequence[Job]) -> None:
    """Look whether the data and encoders that the jobs name are there: ParameterError saying what is not.

    The notebooks' own values name embedded ones, and numbers name nothing: only other words are looked at.
    """
    changed = [job for job in jobs if any(isinstance(value, str) for value in _flat(job.values))]
    if not changed:
        return
    from robust_lib import plan  # here: it loads torch

    missing = {job.origin: plan.missing(plan.units(job.notebook, job.values)) for job in changed}
    if problems := [f"{origin}: {problem}" for origin, found in missing.items() for problem in found]:
        raise params.ParameterError("\n".join(problems))


def _flat(value: Any) -> Iterator[Any]:
    """The values in nested lists and mappings."""
    if isinstance(value, Mapping | list):
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _flat(item)
    else:
        yield value


def execute_all(jobs: Sequence[Job]) -> int:
    """Execute notebooks one after another; exit status 1 if any failed, each with one message at the end."""
    failures = []
    for number, job in enumerate(jobs, start=1):
        print(f"[{number}/{len(jobs)}] {job.notebook.stem}, scale {job.scale}", flush=True)
        started = time.monotonic()
        failure = execution.execute(job.notebook, job.values, job.output, tables=outputs(job.scale))
        ended = f"{'failed after' if failure else 'done in'} {time.monotonic() - started:.1f} s"
        print(f"{job.notebook.stem}: {ended}\n  {job.output}", flush=True)
        failures += [failure] if failure else []
    for failure in failures:
        print(failure, file=sys.stderr)
    return 1 if failures else 0
