"""A static HTML site of a run, from its executed notebooks: read without a kernel, a server or a network.

    python -m robust_lib site --scale micro        # or: make site SCALE=micro

Sphinx builds it from Markdown that `pages` writes out of the run's own files, from the notebooks (myst-nb;
nothing is executed) and from the sources of the package. The same run gives the same bytes: no dates, and no folders of
the machine it ran on.
"""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from robust_lib.site import pages, sources
from robust_lib.site.chapters import SiteError

__all__ = ["SiteError", "build", "check_offline"]

STATIC = Path(__file__).parent / "static"
_RESOURCES = (  # what a browser fetches by itself: pictures, scripts, frames; style sheets and icons; imports of CSS
    re.compile(rb"""<(?!a\b)[^>]*?\ssrc\s*=\s*["']?((?:https?:)?//[^"'\s>]+)""", re.I),
    re.compile(rb"""<link\b[^>]*?\shref\s*=\s*["']?((?:https?:)?//[^"'\s>]+)""", re.I),
    re.compile(rb"""(?:@import\s+|url\()\s*(?:url\()?["']?((?:https?:)?//[^"')\s]+)""", re.I),
)


def build(run: Path, notebooks: Sequence[Path], *, scale: str) -> Path:
    """Build the site of a run into `run/site`, in the place of an older one; the path of its front page.

    `run` is the folder of a scale: executed notebooks in `notebooks/`, tables and figures in a folder for each of
    them, `scorecard.json`. `notebooks` are the sources (py:percent) in their order: those that the run has not executed
    are shown without outputs, and said to be so. Raises SiteError for a run without an executed notebook, for a
    file of it that is cut or no JSON, and for outputs that load anything over a network.
    """
    if not any((run / "notebooks").glob("*.ipynb")):
        raise SiteError(
            f"{run / 'notebooks'}: no executed notebook to build a site of; run `make reproduce SCALE={scale}` first"
        )
    with tempfile.TemporaryDirectory(prefix="robust_lib_site_") as folder:
        source, built = Path(folder, "source"), Path(folder, "built", "html")
        code = sources.pages(Path(__file__).parents[1])
        pages.write(source, run, notebooks, scale=scale, code=code)
        _sphinx(source, built, code)
        check_offline(built)
        shutil.rmtree(built / ".doctrees", ignore_errors=True)
        (built / ".buildinfo").unlink(missing_ok=True)
        shutil.rmtree(run / "site", ignore_errors=True)
        shutil.copytree(built, run / "site")
    return run / "site" / "index.html"


def _sphinx(source: Path, built: Path, code: sources.Code) -> None:
    settings: dict[str, Any] = {
        "project": "robust-lib",
        "html_title": "robust-lib",
        "extensions": ["myst_nb", "robust_lib.site.rendering"],
        "nb_execution_mode": "off",
        "nb_ipywidgets_js": {},  # else from a CDN; outputs of widgets have a plain form too
        "nb_merge_streams": True,
        "nb_code_prompt_show": "Code",
        "nb_code_prompt_hide": "Code",
        "myst_enable_extensions": ["dollarmath"],
        "myst_links_external_new_tab": False,
        "html_theme": "furo",
        "html_math_renderer": "mathml",
        "html_static_path": [str(STATIC)],
        "html_css_files": ["site.css"],
        "html_extra_path": ["extra"],
        "html_copy_source": False,
        "html_show_copyright": False,
        "html_show_search_summary": False,  # would fetch each page found, which a browser forbids to files
        "html_use_index": False,
        "html_domain_indices": False,
        "code_names": code.names,
    }
    with patch_docutils(), docutils_namespace():
        app = Sphinx(
            source,
            None,
            built,
            built / ".doctrees",
            "html",
            confoverrides=settings,
            status=None,
            warning=sys.stderr,
        )
        app.build(force_all=True)
    if app.statuscode:
        raise SiteError("the site could not be built; what Sphinx says of it stands above")


def check_offline(folder: Path) -> None:
    """Raise SiteError if a page, style sheet or drawing in a folder would have a browser load anything from a network.

    A notebook's output may bring pictures and scripts of its own: they have to lie in the page.
    """
    for file in sorted(folder.rglob("*")):
        if file.suffix in (".html", ".css", ".svg"):
            content = file.read_bytes()
            for found in filter(None, (pattern.search(content) for pattern in _RESOURCES)):
                name, address = file.relative_to(folder).as_posix(), found[1].decode(errors="replace")
                raise SiteError(
                    f"{name}: would load {address} from the network; a notebook's output must bring what it shows"
                )
