"""Units on a real Ray cluster: two nodes' worth of processes on this machine, and what may go wrong with them."""

import dataclasses
import functools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from robust_lib import commands, data, methods, models, plan, runs, train

ray = pytest.importorskip("ray")
from ray.cluster_utils import Cluster  # noqa: E402

from robust_lib.runs import cluster  # noqa: E402

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

import runs_driver  # noqa: E402
import runs_work as work  # noqa: E402
from runs_driver import Launch, alive, launching, record  # noqa: E402

pytestmark = [
    pytest.mark.xdist_group("ray"),  # one cluster for all
    pytest.mark.filterwarnings("default::ResourceWarning", "default::FutureWarning"),
]


@pytest.fixture(scope="module")
def nodes() -> Iterator[Cluster]:
    """A head and another node, a CPU each."""
    started = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "object_store_memory": 10**8})
    started.add_node(num_cpus=1, object_store_memory=10**8)
    started.wait_for_nodes()
    yield started
    ray.shutdown()
    started.shutdown()


@pytest.fixture
def run(nodes: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> runs.Run:
    monkeypatch.setenv("ROBUST_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("ROBUST_STORE", str(tmp_path / "store"))
    return runs.start("test", {"engine": nodes.address})


@pytest.fixture
def launch(nodes: Cluster, tmp_path: Path) -> Iterator[Launch]:
    """Starts `runs_script.py` as a driver of its own."""
    with launching(tmp_path) as start:
        yield functools.partial(start, ENGINE=nodes.address)


# Ray takes its time to start a worker.
until = functools.partial(runs_driver.until, seconds=120.0)


def test_results_are_those_of_this_process_to_the_bit(
    run: runs.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder, split = models.Encoder("micro-tiny"), data.Split("mnli", "mnli/train", "micro", 64)
    recipe = train.Recipe(epochs=1, learning_rate=1e-3, batch_size=16, max_length=32)
    teachers = {
        seed: runs.unit(methods.finetuned, encoder=encoder, split=split, recipe=recipe, seed=seed)
        for seed in (0, 1)
    }
    given = methods.measured(
        {("mnli", "dense", 0.0, seed): teacher for seed, teacher in teachers.items()},
        data.beds(["mnli"]),
        source="micro", size=50, max_length=32, precision="fp32",
    )  # fmt: skip
    run.collect(given)
    monkeypatch.setenv("ROBUST_STORE", str(tmp_path / "here"))
    monkeypatch.setenv("ROBUST_WORKERS", "1")
    here = runs.start("test", {})
    here.collect(given)
    assert run.store.keys() == here.store.keys()
    for key in run.store.keys():  # noqa: SIM118  a method of the store
        assert run.store.meta(key)["files"] == here.store.meta(key)["files"], here.store.meta(key)["label"]


def test_both_nodes_take_units(run: runs.Run) -> None:
    found = run.collect([runs.unit(work.node, value=value, seconds=0.5) for value in range(8)])
    assert len(set(found)) == 2
    assert run.record["units"]["computed"] == 8


def test_a_killed_worker_costs_its_unit_one_attempt(run: runs.Run, tmp_path: Path) -> None:
    folder = str(tmp_path)
    once = runs.unit(work.dies, folder=folder, times=1)
    after = runs.unit(work.total, folder=folder, parts=[1.0, 2.0], name="after")
    assert run.collect([once, after]) == ["survived", 3.0]
    assert work.executed(tmp_path) == {"dies-1": 2, "after": 1}


def test_what_fails_three_times_is_recorded_and_the_rest_goes_on(run: runs.Run, tmp_path: Path) -> None:
    folder = str(tmp_path)
    deadly, broken = (
        runs.unit(work.dies, folder=folder, times=9),
        runs.unit(work.fails, folder=folder, value=7),
    )
    user = runs.unit(work.total, folder=folder, parts=[broken], name="user")
    others = [runs.unit(work.number, folder=folder, value=value) for value in range(4)]
    with pytest.raises(
        runs.UnitsFailed, match="2 units failed, 1 that need them were not started; 4 others"
    ) as error:
        run.collect([deadly, user, *others])
    assert work.executed(tmp_path)["dies-9"] == work.executed(tmp_path)["fails-7"] == 3
    assert "3 times, at last on the cluster: WorkerDied" in str(error.value)
    assert re.search(r"3 times, at last on \S+: ValueError", str(error.value))
    failures = record(tmp_path)["failures"]
    assert {entry["key"] for entry in failures} == {deadly.key, broken.key}
    assert run.collect(others) == [0, 1, 2, 3]


def test_a_killed_driver_leaves_what_was_finished(launch: Launch, tmp_path: Path) -> None:
    store = runs.Store(tmp_path / "store")
    driver = launch("waiting-60")
    until(
        lambda: len(store.keys()) == 2 and work.executed(tmp_path)["slow"] == 1,
        "two finished units and a slow one",
    )
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    until(lambda: not any(map(alive, work.workers(tmp_path))), "the end of the workers whose driver is gone")
    again = launch("waiting-0")
    output, errors = again.communicate(timeout=120)
    assert again.returncode == 0, errors
    assert json.loads(output.splitlines()[-1]) == [1, 2, "slow"]
    assert work.executed(tmp_path)["number-1"] == work.executed(tmp_path)["number-2"] == 1


def test_an_interrupt_stops_what_runs_and_keeps_what_is_finished(launch: Launch, tmp_path: Path) -> None:
    driver = launch("waiting-60")
    until(lambda: work.executed(tmp_path)["slow"] == 1, "the slow unit")
    until(lambda: len(runs.Store(tmp_path / "store").keys()) == 2, "two finished units")
    os.killpg(driver.pid, signal.SIGINT)
    output, errors = driver.communicate(timeout=60)
    assert driver.returncode != 0
    assert errors.strip().splitlines()[-1] == "KeyboardInterrupt"
    until(lambda: not any(map(alive, work.workers(tmp_path))), "the end of what ran")
    assert output.splitlines()[-1] == "interrupted: 2 of 3 units are kept, run again to go on"
    assert record(tmp_path)["status"] == "interrupted"


@pytest.fixture
def apart(nodes: Cluster, tmp_path: Path) -> Iterator[Callable[[Path], None]]:
    """Starts a third node that sees an empty folder in the place of the given one, as where nothing is mounted."""
    if os.geteuid() != 0 or subprocess.run(["unshare", "-m", "true"], check=False).returncode != 0:
        pytest.skip("needs the right to mount: a node of its own file system")
    started: list[subprocess.Popen[bytes]] = []

    def start(hidden: Path) -> None:
        node = f"{sys.executable} -m ray.scripts.scripts start --address={nodes.address} --num-cpus=1 --block"
        command = f"mount -t tmpfs none {hidden} && exec {node}"
        before = sum(node["Alive"] for node in ray.nodes())
        with (tmp_path / "node.log").open("wb") as log:
            started.append(
                subprocess.Popen(
                    ["unshare", "-m", "sh", "-c", command], stdout=log, stderr=log, start_new_session=True
                )
            )
        until(lambda: sum(node["Alive"] for node in ray.nodes()) == before + 1, "the third node")

    yield start
    for process in started:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def test_a_node_without_the_data_says_so_and_the_unit_runs_elsewhere(
    run: runs.Run, apart: Callable[[Path], None], tmp_path: Path
) -> None:
    run.collect(runs.unit(work.number, folder=str(tmp_path), value=0))  # connects
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "split").touch()
    apart(folder)
    units = [
        runs.unit(work.needs, folder=str(tmp_path), path=str(folder), name=f"needs-{i}") for i in range(12)
    ]
    assert run.collect(units) == [f"needs-{i}" for i in range(12)]
    shutil.rmtree(folder)
    with pytest.raises(
        runs.UnitsFailed, match=r"3 times, at last on \S+: FileNotFoundError: source: no data directory"
    ):
        run.collect(runs.unit(work.needs, folder=str(tmp_path), path=str(folder), name="nowhere"))
    assert work.executed(tmp_path)["nowhere"] == 3


def test_a_node_without_the_store_says_so(
    run: runs.Run, apart: Callable[[Path], None], tmp_path: Path
) -> None:
    run.collect(runs.unit(work.number, folder=str(tmp_path), value=0))
    apart(tmp_path / "store")
    units = [runs.unit(work.node, value=i, seconds=0.3) for i in range(12)]
    found = run.collect(units)
    assert len(set(found)) == 2
    assert not run.record["failures"]


def test_what_has_the_longest_chain_after_it_runs_first(run: runs.Run, tmp_path: Path) -> None:
    folder, chain = str(tmp_path), []
    others = [runs.unit(work.number, folder=folder, value=value, seconds=0.2) for value in range(30)]
    for link in range(4):
        chain.append(runs.unit(work.total, folder=folder, parts=[*chain[-1:], 1.0], name=f"chain-{link}"))
    run.collect([*others, chain[-1]])
    order = [line.split()[0] for line in (tmp_path / "executed").read_text().splitlines()]
    assert (
        order.index("chain-2") < 15
    )  # the last link is as good as any other; none stands behind all of them


def test_an_address_where_no_ray_answers_is_one_error(tmp_path: Path) -> None:
    code = (
        "from robust_lib import runs; import runs_work as work; run = runs.start('test', {'engine': '127.0.0.1:1'}); "
        f"run.collect(runs.unit(work.number, folder={str(tmp_path)!r}, value=1))"
    )
    environment = {
        **os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parent)]), "ROBUST_HOME": str(tmp_path),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "EngineError: engine: no Ray cluster answers at '127.0.0.1:1'; start it" in done.stderr


@pytest.mark.parametrize(
    ("name", "layers", "share"),
    [("BERT-large", None, 1.0), ("BERT-base", None, 0.28), ("BERT-base", 6, 0.14), ("BERT-tiny", None, 0.1)],
)
def test_a_unit_takes_a_share_of_a_gpu_by_its_largest_encoder(
    name: str, layers: int | None, share: float
) -> None:
    unit = runs.unit(work.encodes, encoder=models.Encoder(name, layers), other=models.Encoder("BERT-tiny"))
    assert cluster.gpu_share(unit) == share
    assert cluster.gpu_share(unit.placed(0.5)) == 0.5


def test_long_batches_take_more_of_a_gpu() -> None:
    usual = train.Recipe(epochs=1, learning_rate=1e-5, batch_size=32, max_length=128)
    long = dataclasses.replace(usual, max_length=384)
    base = models.Encoder("BERT-base")
    assert cluster.gpu_share(runs.unit(work.encodes, encoder=base, other=usual)) == 0.28
    assert cluster.gpu_share(runs.unit(work.encodes, encoder=base, other=long)) == 0.84


def test_units_share_gpus_as_they_need(run: runs.Run, nodes: Cluster, tmp_path: Path) -> None:
    """Ray is told of a GPU that is not there: it counts, and hands out device numbers, as with a real one."""
    node = nodes.add_node(num_cpus=4, num_gpus=1, object_store_memory=10**8)
    fixed = {"folder": str(tmp_path)}
    try:
        small = [
            runs.unit(work.shares, value=i, others=3, seconds=60.0, **fixed).placed(0.3) for i in range(3)
        ]
        large = [
            runs.unit(work.shares, value=i, others=2, seconds=3.0, **fixed).placed(0.6) for i in range(3, 5)
        ]
        assert run.collect(small) == [[True, "0"]] * 3
        assert run.collect(large) == [[False, "0"]] * 2
    finally:
        nodes.remove_node(node)


def test_the_units_of_two_notebooks_run_at_once_and_what_both_need_once(
    run: runs.Run, nodes: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    thin = {"tasks": ["mnli"], "train_size": 64, "test_size": 60, "epochs": 1, "engine": nodes.address}
    names = ["01_robustness_study", "02_attribution"]
    more = [
        {"small_encoders": {}, "truncated_layers": None, "head_versions": [1], "head_sample": 32},
        {"sample_sizes": [], "top_layers": []},
    ]
    jobs = [
        commands.prepare(
            [commands.find(name)], scale="micro", given={**thin, "sparsities": [0.4, 0.7], **own}
        )[0]
        for name, own in zip(names, more, strict=True)
    ]
    needed = [set(runs.closure(plan.units(job.notebook, job.values))) for job in jobs]
    assert len(needed[0] & needed[1]) >= 4  # the dense model, the chain, its control
    assert commands.at_once(jobs, scale="micro", engine=nodes.address) == {}
    record = json.loads((commands.outputs("micro") / "at_once" / "run.json").read_text())
    assert record["units"]["computed"] == len(needed[0] | needed[1])
    assert capsys.readouterr().out.count("\n") < 12
    assert commands.execute_all(jobs) == 0
    for name in names:
        units = json.loads((commands.outputs("micro") / name / "run.json").read_text())["units"]
        assert units["computed"] == 0
        assert units["reused"] > 0


def test_a_notebook_whose_unit_failed_is_told_from_the_others(
    run: runs.Run, nodes: Cluster, tmp_path: Path
) -> None:
    jobs = []
    for name, value in (("broken", 1), ("sound", 2)):
        cells = [
            '# %% tags=["parameters"]\nseeds = [0]',
            '# %% tags=["setup"]\nimport runs_work as work\nfrom robust_lib import runs\nrun = runs.start("any", {})',
            f'# %% tags=["units"]\nunits = [runs.unit(work.number, folder={str(tmp_path)!r}, value={value})]',
            f"units += [runs.unit(work.fails, folder={str(tmp_path)!r}, value=0)] if {value} == 1 else []",
            '# %% tags=["run"]\nrun.collect(units)',
        ]
        (tmp_path / f"{name}.py").write_text("\n".join(cells))
        jobs.append(commands.Job(tmp_path / f"{name}.py", "micro", {}, name))
    failures = commands.at_once(jobs, scale="micro", engine=nodes.address)
    assert failures.keys() == {"broken"}
    assert "ValueError: cannot do 0" in failures["broken"]
    assert work.executed(tmp_path) == {"number-1": 1, "number-2": 1, "fails-0": 3}
