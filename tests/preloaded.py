"""What the process that commands are forked from does once, and each command would do again: imports and templates."""

import tests.conftest  # noqa: F401  # the surroundings of a command are unpickled from it, with pytest
from frostline._utils.text import templates

REPORTS = templates("frostline.report")
for name in REPORTS.list_templates(["html"]):
    REPORTS.get_template(name)  # compiled, and kept by the environment
