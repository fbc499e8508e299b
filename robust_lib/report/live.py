"""HTML that a reader can sort, filter and step through, and that is whole without any script.

The table libraries for notebooks want about a megabyte in each of them before the first table works offline (itables
2.9 brings 971 kB), and draw nothing where scripts do not run. `live.js` adds its few kilobytes to each output and works
on the HTML that is there, so GitHub, an untrusted notebook and a printed page show the same table without controls.
"""

import html
from collections.abc import Iterable
from importlib.resources import files

TABLE = "class='live'"  # attributes of a table that is to be sorted and filtered
PLAIN = "tex2jax_ignore mathjax_ignore"  # class of texts in which $5 and $6 are amounts: MathJax 2 and 3 let them be


def live(page: str) -> str:
    """HTML with what its live tables and examples need to work; without blank lines, which end HTML in Markdown."""
    source = files("robust_lib.report").joinpath("live.js").read_text(encoding="utf-8").splitlines()
    code = [line.strip() for line in source if line and line[:2] != "//"]
    return f"{page}<script>{chr(10).join(code)}</script>"


def hover(shown: str, told: str) -> str:
    """HTML that says more while the pointer is over it, and to a screen reader."""
    return f"<span title='{html.escape(told)}'>{shown}</span>"


def told(n: int | None, seeds: int | None, *more: str) -> str:
    """What stands behind a number, in a line: 2,000 items · 3 seeds · ...; what is counted has neither."""
    counts = ((n, "item"), (seeds, "training seed"))
    first = [f"{number:,} {name}{'s' * (number != 1)}" for number, name in counts if number is not None]
    return " · ".join([*first, *filter(None, more)]) or "counted, not measured"


def small(lines: Iterable[str]) -> str:
    """Lines of HTML under a table."""
    return f"<small>{''.join(f'<div>{line}</div>' for line in lines)}</small>"
