"""What the doctor says of a machine, of directories made for it, and of an environment that is not as pinned."""

import json
import shutil
import socket
import threading
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pandas as pd
import pytest
from huggingface_hub import constants
from packaging.requirements import Requirement

from robust_lib import __main__ as program
from robust_lib import data, doctor, models, params, runs
from robust_lib.attack import lexica

ROOT = Path(__file__).parents[1]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, place in (("HOME", ROOT), ("RUNS", tmp_path / "runs"), ("STORE", tmp_path / "store")):
        monkeypatch.setenv(f"ROBUST_{name}", str(place))
    return tmp_path


def gaps(findings: object) -> list[str]:
    return [finding.found for finding in findings if finding.stops]  # type: ignore[attr-defined]


def written(directory: Path, path: str, rows: int) -> Path:
    file = directory / f"{path}.parquet"
    file.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame({"premise": ["a"] * rows}).to_parquet(file)
    return file


def test_the_micro_scale_runs_here_and_a_screen_says_so(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 0, 10**12))
    status = program.main(["doctor", "--notebooks", "01", "05"])
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "scale micro can run here"
    assert status == 0
    assert len(lines) < 25
    assert {line.split()[1] for line in lines[:-1] if not line.startswith("     ")} >= {
        "python", "packages", "pins", "GPU", "machine", "data", "encoders", "lexica", "store", "disk", "memory", "time",
    }  # fmt: skip
    assert "needed for micro 0." in (disk := next(line for line in lines if " disk " in line))
    assert float(disk.split("colab ")[1].split()[0]) < 10, "of two notebooks, where all are above 20"
    assert not any(folder.iterdir()), "it wrote"


def test_gaps_end_in_status_1_each_with_its_remedy(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = ["--source", str(folder / "none"), "--encoder", str(folder / "none")]
    assert program.main(["doctor", "--scale", "colab", "--notebooks", "05", *source]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("scale colab cannot run here: ")
    found = [index for index, line in enumerate(lines) if line.startswith("GAP ")]
    assert len(found) == int(lines[-1].split()[-2])
    assert all(lines[index + 1].startswith("     -> ") for index in found)


def test_names_that_are_none_are_one_error(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for wrong in (["--notebooks", "99"], ["--extras", "brwser"]):
        assert program.main(["doctor", *wrong]) == 2
        assert capsys.readouterr().err.startswith("error: no ")


def test_a_package_that_is_missing_or_out_of_range_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"torch": "2.10.0", "pandas": None}
    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: versions.get(name, known(name)))
    (found,) = gaps(doctor.packages())
    assert "torch 2.10.0 is not >=2.11" in found
    assert "pandas is missing (>=2.3)" in found
    (remedy,) = {finding.remedy for finding in doctor.packages() if finding.stops}
    assert remedy == "pip install torch==2.13.0 && pip install -e '.[pinned]'"
    report = list(doctor.findings(scale="micro", names=[], given={}, extras=[], verify=False))
    assert [finding.name for finding in report][-1] == "the rest"


def test_other_versions_than_the_pins_are_a_note_and_a_local_build_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert doctor._mismatch(Requirement("torch==2.13.0")) == ""  # 2.13.0+cpu here
    known = doctor._version
    monkeypatch.setattr(doctor, "_version", lambda name: "99.0" if name == "pandas" else known(name))
    pins = next(finding for finding in doctor.packages() if finding.name == "pins")
    assert not pins.stops
    assert "1 of " in pins.found
    assert "pandas 99.0 is not ==" in pins.found


def test_a_package_that_is_not_installed_at_all_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(name: str) -> None:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "metadata", absent)
    assert gaps(doctor.packages()) == ["robust-lib itself is not installed, so its ranges are not known"]


def test_chromium_is_looked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("ROBUST_CHROMIUM", raising=False)
    assert doctor._browser().stops
    shutil.copy("/bin/true", tmp_path / "chromium")
    assert not doctor._browser().stops


def test_splits_of_a_directory_are_whole_partial_too_small_cut_or_missing(tmp_path: Path) -> None:
    for path, rows in (
        ("mnli/train", 500),
        ("sst2/validation", 872),
        ("hans/validation", 10),
        ("sst2/train", 9),
    ):
        file = written(tmp_path, path, rows)
    file.write_bytes(file.read_bytes()[:-9])  # sst2/train
    asked = {
        "mnli/train": None,
        "sst2/validation": 872,
        "hans/validation": 11,
        "sst2/train": 9,
        "fever/train": None,
    }
    tasks = {"hans": "mnli"}
    wanted = [
        data.Split(tasks.get(name := path.partition("/")[0], name), path, str(tmp_path), size)
        for path, size in asked.items()
    ]
    findings = list(doctor.splits(wanted))
    assert findings[0].found == f"{tmp_path}: 2 of 5 splits there"
    assert "mnli/train 500 of 392,702 published" in findings[1].found
    said = " ".join(gaps(findings))
    assert "hans/validation has 10 rows of 11 asked" in said
    assert "sst2/train is damaged" in said
    remedy = next(finding.remedy for finding in findings if "sst2/train is" in finding.found)
    assert remedy.startswith(f"delete {file}; then `python -m robust_lib.data export {tmp_path}`")
    assert "fever/train is missing" in said
    assert any("fever.train.jsonl" in finding.remedy for finding in findings)
    assert len(gaps(findings)) == 3


def test_a_file_that_changed_since_its_export_is_a_gap(tmp_path: Path) -> None:
    written(tmp_path, "sst2/validation", 872)
    entry = {"rows": 872, "sha256": "0" * 64, "commit": "c"}
    (tmp_path / "manifest.json").write_text(json.dumps({"sst2/validation": entry}))
    findings = list(doctor.splits([data.Split("sst2", "sst2/validation", str(tmp_path))]))
    assert gaps(findings) == ["sst2/validation is damaged"]


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    doctor._no_hub.cache_clear()
    yield
    doctor._no_hub.cache_clear()


@pytest.mark.usefixtures("empty_cache")
def test_a_hub_out_of_reach_is_a_gap_for_what_is_not_fetched_yet() -> None:
    wanted = [data.Split("mnli", "mnli/train", "hub"), data.Split("fever", "fever/train", "hub")]
    found = gaps(doctor.splits(wanted))
    assert found[0] == "fever/train is not on the hub"
    assert "to be fetched: mnli/train, but HF_HUB_OFFLINE is set" in found[1]
    assert "to be fetched: BERT-base" in gaps(doctor.encoders([models.Encoder("BERT-base")]))[0]


@pytest.mark.usefixtures("empty_cache")
def test_a_hub_that_does_not_answer_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    with socket.create_server(("127.0.0.1", 0)) as hub:
        monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
        monkeypatch.setattr(constants, "ENDPOINT", f"http://127.0.0.1:{hub.getsockname()[1]}")

        def hang_up() -> None:
            while True:
                try:
                    connection, _ = hub.accept()
                except OSError:
                    return
                asked.append(connection)
                connection.close()

        thread = threading.Thread(target=hang_up)
        thread.start()
        found = gaps(doctor.splits([data.Split("mnli", "mnli/train", "hub")]))
        after_one = len(asked)
        found += gaps(doctor.encoders([models.Encoder("BERT-base")]))
        hub.shutdown(socket.SHUT_RDWR)
    thread.join()
    assert [" does not answer (" in text for text in found] == [True, True]
    assert after_one == len(asked) > 0


def test_encoders_are_told_apart(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    names = ("micro-tiny", "micro-huge", str(tmp_path), str(tmp_path / "none"))
    findings = list(doctor.encoders(models.Encoder(name) for name in names))
    assert [finding.stops for finding in findings] == [True, True, True, False]
    assert findings[1].found == f"{tmp_path} holds no model.safetensors"
    assert findings[-1].found == "1 there: micro-tiny"


def test_missing_lexica_come_from_the_attacks_own_doctor(tmp_path: Path) -> None:
    findings = list(doctor.lexica([lexica.Words("micro"), lexica.Words(str(tmp_path))]))
    assert not findings[0].stops
    assert "synonyms with cosines, synonyms without cosines missing" in gaps(findings)[0]
    assert f"python -m robust_lib.attack build VECTORS {tmp_path}" in findings[2].remedy


def test_damage_in_the_store_is_counted_and_stops_nothing(tmp_path: Path) -> None:
    store = runs.Store(tmp_path / "store")
    for name in "abc":
        store.save(runs.unit(params.nearest, name=name, valid=["a"]), name, seconds=1.0)
    records = sorted(store.path.glob("*/*/meta.json"))
    records[0].write_text("{}")
    result = next(file for file in records[1].parent.iterdir() if file.name != "meta.json")
    result.write_bytes(result.read_bytes() + b" ")
    quick, deep = (list(doctor.store(store, verify=verify)) for verify in (False, True))
    assert "3 units" in quick[0].found
    assert quick[1].found == "1 damaged unit"
    assert deep[1].found == "2 damaged units"
    assert not gaps(quick + deep)


def test_a_long_time_is_a_note_and_goes_by_the_workers_there_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unit = runs.unit(params.nearest, name="a", valid=["a"]).sized(1e18)
    monkeypatch.setenv("ROBUST_WORKERS", "3")
    found = doctor.hours([unit], runs.Store(tmp_path / "store"))
    assert "about 39 days on 3 x " in found.found  # 1e18 FLOP at 1e11 a second on each of three
    assert found.remedy
    assert not found.stops


def test_a_disk_too_small_for_the_scale_is_a_gap(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    needs = {"micro": 1e6, "paper": free * 1.5}
    assert not doctor.disk(needs, "micro", tmp_path / "store").stops
    assert doctor.disk(needs, "paper", tmp_path / "store").stops
