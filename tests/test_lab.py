"""The notebooks in a real JupyterLab, opened from their `.py` in a headless Chromium: Run All, what is seen, Stop.

Two notebooks run with thinned values. ROBUST_BROWSER=all (`make browser`) runs every one as it is, with the run's
store. Screenshots go to `runs/browser` (ROBUST_RUNS moves it).
"""

import io
import itertools
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pandas as pd
import pytest
from PIL import Image
from playwright.sync_api import Browser, Page

from robust_lib import commands
from tests import browser, runs_work
from tests.test_notebooks import NOTEBOOKS, ROOT, THINNED

ALL = os.environ.get("ROBUST_BROWSER") == "all"
THIN = ["00_micro_world", "01_robustness_study"]
RUNS = Path(os.environ.get("ROBUST_RUNS") or ROOT / "runs").resolve()
HOUR = 3600
BADGE = "https://colab.research.google.com/assets/colab-badge.svg"  # the one address a notebook asks for
PICTURE = '<svg xmlns="http://www.w3.org/2000/svg" width="117" height="20"><path d="M0 0H117V20H0" fill="#ccc"/></svg>'

# One server for all, by one process; a notebook whose units are not in the store takes minutes.
pytestmark = [pytest.mark.timeout(HOUR), pytest.mark.xdist_group("lab")]


@dataclass
class Lab:
    """A JupyterLab that serves `folder`, and the browser to look at it."""

    folder: Path
    url: str
    chromium: Browser

    @contextmanager
    def notebook(self, name: str) -> Iterator[browser.Watched]:
        """`name`.py opened as a double click opens it, all cells there, its kernel started."""
        cells = len(jupytext.read(self.folder / f"{name}.py").cells)
        with browser.opened(self.chromium, "about:blank", width=1100) as watched:
            watched.page.route(BADGE, lambda route: route.fulfill(content_type="image/svg+xml", body=PICTURE))
            watched.page.goto(f"{self.url}doc/tree/{name}.py?reset")
            watched.page.wait_for_function(f"document.querySelectorAll('.jp-Cell').length === {cells}")
            wait_until_idle(watched.page)
            try:
                yield watched
            finally:
                for kernel in watched.page.request.get(f"{self.url}api/kernels").json():
                    watched.page.request.delete(f"{self.url}api/kernels/{kernel['id']}")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    browser.executable()  # skips before a server is started
    folder = tmp_path_factory.mktemp("lab")
    with serving(folder) as url, browser.chromium() as chromium:
        yield Lab(folder / "notebooks", url, chromium)


@contextmanager
def serving(folder: Path) -> Iterator[str]:
    """A JupyterLab on `folder`/notebooks, with settings and outputs of its own; its address."""
    overrides = folder / "config/labconfig/default_setting_overrides.json"
    set_viewer = ["-m", "jupytext_config", "--settings-file", str(overrides), "set-default-viewer", "python"]
    subprocess.run([sys.executable, *set_viewer], check=True)  # as `make lab` does
    settings = json.loads(overrides.read_text())
    shown = {"windowingMode": "none", "scrollPastEnd": False}  # cells out of view are on the page too
    settings["@jupyterlab/notebook-extension:tracker"] = shown
    settings["@jupyterlab/apputils-extension:notification"] = {"fetchNews": "false"}
    overrides.write_text(json.dumps(settings))
    (folder / "notebooks").mkdir()
    places = {"CONFIG_DIR": "config", "DATA_DIR": "data", "RUNTIME_DIR": "runtime"}
    environment = {f"JUPYTER_{name}": str(folder / place) for name, place in places.items()}
    environment |= {"JUPYTERLAB_SETTINGS_DIR": str(folder / "settings"), "JUPYTER_PREFER_ENV_PATH": "1"}
    environment |= {
        "JUPYTERLAB_WORKSPACES_DIR": str(folder / "workspaces"),
        "PYTHONPATH": str(ROOT / "tests"),
    }
    environment |= {"ROBUST_HOME": str(ROOT), "ROBUST_RUNS": str(folder / "runs")}
    if ALL:
        store = Path(os.environ.get("ROBUST_STORE") or RUNS / "store").resolve()
        environment |= {"ROBUST_STORE": str(store)}
    else:
        environment |= {"ROBUST_STORE": str(folder / "store"), "ROBUST_WORKERS": "1"}
    options = "--no-browser --allow-root --ip=127.0.0.1 --port=0 --IdentityProvider.token="
    options += " --ServerApp.disable_check_xsrf=True --expose-app-in-browser"
    command = [sys.executable, "-m", "jupyterlab", *options.split(), str(folder / "notebooks")]
    with (folder / "log").open("w") as log:
        server = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=log)
    try:
        yield address(folder / "runtime", server, folder / "log")
    finally:
        server.terminate()
        server.wait()


def address(runtime: Path, server: subprocess.Popen[bytes], log: Path) -> str:
    """Where the server listens, once it does."""
    until = time.monotonic() + 60
    while time.monotonic() < until and server.poll() is None:
        for file in runtime.glob("jpserver-*.json"):
            return str(json.loads(file.read_text())["url"])
        time.sleep(0.1)
    raise AssertionError(f"JupyterLab did not start:\n{log.read_text()}")


def menu(page: Page, name: str, item: str) -> None:
    page.get_by_role("menuitem", name=name, exact=True).click()
    page.get_by_role("menuitem", name=item, exact=True).click()


# The indicator on the page says "idle" before there is a kernel: the application itself knows better.
IDLE = """() => {
    const session = window.jupyterapp?.shell.currentWidget?.sessionContext;
    return session?.isReady && session.session?.kernel?.connectionStatus === 'connected' &&
        session.session.kernel.status === 'idle' &&
        ![...document.querySelectorAll('.jp-InputPrompt')].some(prompt => prompt.innerText.includes('*'));
}"""


def wait_until_idle(page: Page) -> None:
    """Until there is a kernel, and no cell runs or waits to run."""
    page.wait_for_function(IDLE, timeout=HOUR * 1000)


# For each code cell its prompt and its outputs, as the page shows them: a table or picture of no size is not seen.
SEEN = """cells => {
    const visible = item => item.checkVisibility() && item.offsetHeight && item.offsetWidth;
    const count = (output, kind) => [...output.querySelectorAll(kind)].filter(visible).length;
    return cells.map(cell => ({
        prompt: cell.querySelector('.jp-InputPrompt').innerText,
        outputs: [...cell.querySelectorAll('.jp-OutputArea-output')].map(output => ({
            tables: count(output, 'table'),
            pictures: count(output, 'img'),
        })),
    }));
}"""


def assert_it_shows(page: Page, executed: Any) -> tuple[int, int]:
    """Each output of the executed notebook is on the page, tables and pictures visible; how many of these."""
    cells = [cell for cell in executed.cells if cell.cell_type == "code"]
    seen = page.eval_on_selector_all(".jp-CodeCell", SEEN)
    assert len(seen) == len(cells)
    tables = pictures = 0
    faults = [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert not faults, "\n".join(faults[0].traceback)
    for cell, shown in zip(cells, seen, strict=True):
        assert re.fullmatch(r"\[\d+\]:", shown["prompt"]), f"not executed:\n{cell.source}"
        assert len(shown["outputs"]) == len(cell.outputs), cell.source
        for output, on_page in zip(cell.outputs, shown["outputs"], strict=True):
            html, kinds = "".join(output.get("data", {}).get("text/html", "")), output.get("data", {})
            if "<table" in html:
                assert on_page["tables"], f"a table that is not seen:\n{cell.source}"
                tables += 1
            if kinds.keys() & {"image/png", "image/svg+xml"}:
                assert on_page["pictures"], f"a figure that is not seen:\n{cell.source}"
                pictures += 1
    return tables, pictures


def screenshot(page: Page, path: Path) -> None:
    """The notebook from top to bottom in one PNG: its panel scrolls, so it is taken part by part."""
    panel = page.locator(".jp-WindowedPanel-outer")
    page.set_viewport_size({"width": 1100, "height": 4000})
    width, step, height = panel.evaluate(
        "panel => [panel.offsetWidth, panel.clientHeight, panel.scrollHeight]"
    )
    end = page.locator(".jp-Cell").last.evaluate("cell => cell.offsetTop + cell.offsetHeight + 20")
    whole = Image.new("RGB", (width, min(end, height)))
    for top in range(0, whole.height, step):
        reached = panel.evaluate("(panel, top) => { panel.scrollTop = top; return panel.scrollTop }", top)
        whole.paste(Image.open(io.BytesIO(panel.screenshot())), (0, reached))
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.save(path, optimize=True)


def with_values(name: str, given: Mapping[str, Any]) -> Any:
    """The notebook, with these values after its own."""
    notebook = jupytext.read(ROOT / "notebooks" / f"{name}.py")
    values = "\n".join(f"{parameter} = {value!r}" for parameter, value in given.items())
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    tagged = tags.index(["parameters"])
    notebook.cells.insert(tagged + 1, nbformat.v4.new_code_cell(values))
    return notebook


@pytest.mark.parametrize(
    "name", [file.stem for file in NOTEBOOKS if file.stem != commands.MATRIX] if ALL else THIN
)
def test_a_notebook_runs_from_its_py(lab: Lab, name: str) -> None:
    # A copy: JupyterLab saves outputs into the pair.
    notebook = jupytext.read(ROOT / "notebooks" / f"{name}.py") if ALL else with_values(name, THINNED[name])
    jupytext.write(notebook, lab.folder / f"{name}.py")
    with lab.notebook(name) as watched:
        menu(watched.page, "Run", "Run All Cells")
        wait_until_idle(watched.page)
        watched.page.keyboard.press("Control+s")
        watched.page.wait_for_selector(".jp-mod-dirty", state="detached")
        screenshot(watched.page, RUNS / "browser" / f"{name}{'' if ALL else '_thinned'}.png")
        tables, pictures = assert_it_shows(
            watched.page, nbformat.read(lab.folder / f"{name}.ipynb", as_version=4)
        )
        assert watched.errors == []
        assert watched.beyond(lab.url, lab.url.replace("http", "ws"), BADGE) == []
    assert tables
    assert pictures or name == "00_micro_world"


KERNEL = """
# ---
# jupyter:
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---
# %%
""".lstrip()
STOPPED = """
import os
os.environ |= {{"ROBUST_WORKERS": "{workers}", "ROBUST_RUNS": "{folder}/runs", "ROBUST_STORE": "{folder}/store"}}
import runs_work as work
from robust_lib import runs
run = runs.start("stopped", {{"scale": "micro"}})
quick = [runs.unit(work.number, folder="{folder}", value=value) for value in (1, 2)]
slow = runs.unit(work.counts_on, folder="{folder}", upto=12, seconds=0.5)
# %%
run.collect([*quick, slow])
# %%
"still " + "usable"
"""


AMOUNTS = """
import pandas as pd
from IPython.display import HTML, display
from robust_lib import report
text = "from $5 to $6"
one = report.Example("id 1", {"what": "lost"}, [("", text, text), ("", text, text + " and $7")])
display(report.Examples([one]), report.Examples([one] * 4), report.sheet(pd.DataFrame({"text": [text]})))
display(HTML("of this $x_1$ is made"))
""".lstrip()


def test_amounts_in_dollars_are_no_formula(lab: Lab) -> None:
    (lab.folder / "amounts.py").write_text(KERNEL + AMOUNTS)
    with lab.notebook("amounts") as watched:
        menu(watched.page, "Run", "Run All Cells")
        outputs = watched.page.locator(".jp-OutputArea-output")
        outputs.nth(3).locator("mjx-container").wait_for()
        assert watched.page.locator("mjx-container").count() == 1
        assert [output.inner_text().count("from $5 to $6") for output in outputs.all()] == [2, 6, 1, 0]


def press_stop(page: Page) -> None:
    page.locator('[data-command="notebook:interrupt-kernel"]').first.click()


def press_i_i(page: Page) -> None:
    for key in ("Escape", "i", "i"):
        page.keyboard.press(key)


@pytest.mark.parametrize(("workers", "stop"), [(1, press_stop), (2, press_i_i)])
def test_a_stopped_cell_says_so_shortly_and_goes_on(
    lab: Lab, tmp_path: Path, workers: int, stop: Any
) -> None:
    notebook = STOPPED.format(workers=workers, folder=tmp_path).lstrip()
    (lab.folder / f"stopped_{workers}.py").write_text(KERNEL + notebook)
    with lab.notebook(f"stopped_{workers}") as watched:
        page = watched.page
        output = page.locator(".jp-CodeCell").nth(1).locator(".jp-OutputArea")
        menu(page, "Run", "Run All Cells")
        until = time.monotonic() + 60
        while not runs_work.executed(tmp_path)["part-3"]:
            assert time.monotonic() < until, output.inner_text()
            page.wait_for_timeout(50)
        stop(page)
        wait_until_idle(page)
        said = output.inner_text()
        screenshot(page, RUNS / "browser" / f"stopped_{workers}.png")
        assert "interrupted: 2 of 3 units are kept" in said
        assert len(said.splitlines()) < 15, said
        menu(page, "Run", "Run All Cells")
        wait_until_idle(page)
        assert str([part**2 for part in range(12)]) in output.inner_text()
        assert "still usable" in page.locator(".jp-CodeCell").nth(2).inner_text()
    ran = runs_work.executed(tmp_path)
    assert (ran["number-1"], ran["number-2"]) == (1, 1)
    assert [ran[f"part-{part}"] for part in range(3)] == [
        1,
        1,
        1,
    ]  # of the slow unit, too, its finished parts


TABLE = """\ufeffKommentar;Bewertung;Filiale;Sterne
"i enjoyed the thriller.";Positive;Nord;4
;;;
the dialogue was stupid.;NEGATIVE;Süd;1
"the movie was not good; i liked the ending.";negative ;Nord;2
"""


def test_a_table_that_nobody_shaped_is_audited(lab: Lab, pair_of_models: Path) -> None:
    """Semicolons, a byte order mark, labels as words in any case, empty rows, columns of other names."""
    whole = pd.read_csv(pair_of_models / "test.csv")
    names = itertools.cycle(["Nord", "Süd", "West"])
    rows = [
        f'"{row.sentence}";{row.label.title()};{place};{row.Index % 5 + 1}'
        for row, place in zip(whole.itertuples(), names, strict=False)
    ]
    lines = [*TABLE.splitlines(), *rows[:60], ";;;", "", *rows[60:], ";;;"]
    (lab.folder / "kunden.csv").write_text("\n".join(lines), encoding="utf-8")
    given = {"scale": "own", "name": "kunden", "second": None, "ood": None, "train": None, "sentences": None}
    given |= {"original": str(pair_of_models / "original"), "compressed": str(pair_of_models / "student")}
    given |= {"test": "kunden.csv", "slices": ["Filiale", "Sterne > 3"], "minutes": 0.3, "speed_rounds": 2}
    jupytext.write(with_values("07_audit", given), lab.folder / "audit_kunden.py")
    with lab.notebook("audit_kunden") as watched:
        menu(watched.page, "Run", "Run All Cells")
        wait_until_idle(watched.page)
        watched.page.keyboard.press("Control+s")
        watched.page.wait_for_selector(".jp-mod-dirty", state="detached")
        screenshot(watched.page, RUNS / "browser" / "07_audit_kunden.png")
        executed = nbformat.read(lab.folder / "audit_kunden.ipynb", as_version=4)
        tables, pictures = assert_it_shows(watched.page, executed)
        assert watched.errors == []
    assert (tables > 1, pictures > 0) == (True, True)
    folder = next(lab.folder.parent.rglob("audit.json"))
    told = json.loads(folder.read_text(encoding="utf-8"))
    assert (told["sets"]["test"]["text"], told["sets"]["test"]["label"]) == ("Kommentar", "Bewertung")
    assert told["sets"]["test"]["rows"] == len(whole) + 3
    assert "empty rows" in {problem["kind"] for problem in told["problems"]}
    assert {"Filiale: Nord", "Sterne > 3: yes"} <= {row["part"] for row in told["findings"]}
