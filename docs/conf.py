"""Sphinx: Markdown by MyST, tables from the registries, the API from docstrings."""

from sphinx.application import Sphinx

import diorama
from diorama.export import FORMATS
from diorama.registry import entries


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A Markdown table."""
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


project = "diorama"
author = "the diorama authors"
copyright = f"{author}; Apache-2.0"
version = release = diorama.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
]
myst_enable_extensions = ["amsmath", "deflist", "dollarmath", "substitution"]
myst_heading_anchors = 3
myst_substitutions = {
    "models_table": table(
        ("task", "name", "what it is", "licence", "to pull", "needs"),
        [
            (
                e.task,
                f"`{e.name}`",
                e.summary,
                e.licence + ("" if e.commercial else ", not for commercial use"),
                f"{e.weights.size / 1e6:.0f} MB" if e.weights and e.weights.size else "",
                f"`diorama[{e.extra}]`" if e.extra else "",
            )
            for e in entries()
        ],
    ),
    "formats_table": table(
        ("name", "files", "what is written", "needs"),
        [
            (
                f"`{f.name}`",
                " ".join(f"`{suffix}`" for suffix in f.suffixes),
                f.summary,
                f"`diorama[{f.extra}]`" if f.extra else "",
            )
            for f in FORMATS.values()
        ],
    ),
}

# The docstrings mark code with single backticks, as Markdown does.
default_role = "code"
autodoc_member_order = "bysource"
autodoc_preserve_defaults = True
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
python_use_unqualified_type_names = True
napoleon_google_docstring = True
napoleon_numpy_docstring = False

exclude_patterns = ["_build", "figures"]
html_theme = "furo"
html_title = "diorama"
html_show_sphinx = False


def setup(app: Sphinx) -> None:
    """Run before Napoleon, which listens at the usual priority of 500."""
    app.connect("autodoc-process-docstring", keep_colons, priority=400)


def keep_colons(
    app: Sphinx, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Keep Napoleon from taking a field's words before a colon for its type.

    It looks at the first line alone; an escaped space there is printed as nothing.
    """
    if what == "attribute" and lines:
        lines.insert(0, "\\ ")
