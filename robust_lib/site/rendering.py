"""The Sphinx extension: formulas as MathML, which browsers show by themselves, and names in code as links."""

from __future__ import annotations

import re
from typing import Any

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.writers.html5 import HTML5Translator

from robust_lib.site.sources import Definition

_QUALIFIED = re.compile(r'<span class="n">(\w+)</span><span class="o">\.</span><span class="n">(\w+)</span>')


def setup(app: Sphinx) -> dict[str, Any]:
    """What Sphinx calls."""
    app.add_html_math_renderer("mathml", (_inline, None), (_block, None))
    app.add_config_value("code_names", {}, "html", dict)
    app.connect("html-page-context", _link_code)
    return {"parallel_read_safe": True, "parallel_write_safe": True}


def _inline(translator: HTML5Translator, node: nodes.math) -> None:
    translator.body.append(convert(node.astext()))
    raise nodes.SkipNode


def _block(translator: HTML5Translator, node: nodes.math_block) -> None:
    translator.body.append(f'<div class="formula">{convert(node.astext(), display="block")}</div>')
    raise nodes.SkipNode


def _link_code(
    app: Sphinx, page: str, template: str, context: dict[str, Any], tree: nodes.document | None
) -> None:
    """Make each `methods.finetuned` in highlighted code a link to where it is defined."""
    names: dict[str, Definition] = app.config.code_names

    def linked(match: re.Match[str]) -> str:
        found = names.get(f"{match[1]}.{match[2]}")
        if found is None:
            return match[0]
        address = f"{app.builder.get_relative_uri(page, found.page)}#{found.anchor}"
        return f'<a class="code-link" href="{address}">{match[0]}</a>'

    if tree is not None:
        context["body"] = _QUALIFIED.sub(linked, context["body"])
