"""The documentation as a site, built by Sphinx: ``make docs``.

The source folder is the repository itself. So a relative link leads to the same file on the code
host and in the site, and no page has to be copied.
"""

import shutil
from pathlib import Path

from sphinx.application import Sphinx

CONTENTS = """
```{toctree}
:hidden:
:caption: Use it

docs/start
docs/digits
docs/compress
docs/packed
docs/costs
docs/api
docs/faq
```

```{toctree}
:hidden:
:caption: Replicate the paper

docs/replicate
docs/commands
config/README
docs/results
docs/findings
docs/peers
benchmarks/README
```

```{toctree}
:hidden:
:caption: The method

docs/method
docs/search
docs/theory
docs/differences
```

```{toctree}
:hidden:
:caption: Work on it

docs/extend
CONTRIBUTING
```
"""
"""Pages in the order of the side bar."""

project = "SBS"
copyright = "The SBS replication authors"
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
nitpicky = True
nitpick_ignore_regex = [
    # Names of other packages, and of inner rooms, have no page here.
    ("py:.*", r"(annotated_types|collections|nn|pathlib|pd|pydantic|torch|typing)\..*"),
    ("py:.*", r"(Any|Callable|Iterable|Mapping|Path|Sequence|Tensor)"),
    ("py:.*", r"sbs\.(networks|nn|quantization|surgery)\..*"),
]

root_doc = "README"
include_patterns = [
    *("README.md", "CONTRIBUTING.md", "config/README.md", "benchmarks/README.md"),
    *("docs/*.md", "docs/*_notebook.py"),
    "results/measured/**.md",
]
exclude_patterns = [".*", "data", "logs", "results/[!m]*", "sbs", "tests", "workflow"]
suppress_warnings = ["toc.not_included"]  # tables of results are reached by links

nb_custom_formats = {"_notebook.py": ["jupytext.reads", {"fmt": "py:percent"}]}
nb_execution_mode = "force"
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_execution_timeout = 300
myst_heading_anchors = 4

autodoc_type_aliases = {"OnnxSizes": "sbs.export.onnx_file.OnnxSizes"}
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
napoleon_use_ivar = True
maximum_signature_line_length = 80

html_theme = "furo"
html_title = "SBS"
html_static_path = ["static"]
html_css_files = ["site.css"]
smartquotes_action = "D"  # dashes only: quotes can be code
html_copy_source = False


def setup(app: Sphinx) -> None:
    """Give the README a side bar and the name that a web server looks for."""
    app.connect("source-read", _add_contents)
    app.connect("build-finished", _name_index)


def _add_contents(app: Sphinx, page: str, source: list[str]) -> None:
    if page == root_doc:
        source[0] += CONTENTS


def _name_index(app: Sphinx, error: Exception | None) -> None:
    if error is None:
        shutil.copy(Path(app.outdir, f"{root_doc}.html"), Path(app.outdir, "index.html"))
