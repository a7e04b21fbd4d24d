"""``clbench describe``: what a scenario or strategy does, and its arguments. Imports no torch."""

from __future__ import annotations

from clbench import plugins
from clbench.text import text_table


def page(name: str) -> str:
    """The docstring, arguments and settings of a scenario or strategy given by name or path."""
    description = plugins.describe(plugins.kind_of(name), name)
    doc = description.doc.strip()
    lines = [description.name, "", doc]
    if description.class_doc and description.class_doc.strip() != doc:
        lines += ["", description.class_doc.strip()]
    settings = description.attributes.get("settings")
    if isinstance(settings, tuple):
        lines += ["", f"settings: {', '.join(settings)}"]
    rows = [[p.name, p.annotation, p.default] for p in description.parameters if p.name not in ("seed", "setting")]
    if rows:
        lines += ["", text_table(["argument", "type", "default"], rows)]
    return "\n".join(lines)
