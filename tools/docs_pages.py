"""Pages of the documentation that are made when it is built: from files outside ``docs/`` and from the code's imports.

mkdocs loads this file as a hook (``mkdocs.yml``). Nothing here imports Frostline.
"""

import ast
import re
from graphlib import CycleError, TopologicalSorter
from html import escape
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
CODE = ROOT / "src" / "frostline"
CARD = "src/frostline/models/bundled/README.md"
INCLUDED = {
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CHANGELOG.md": "changelog.md",
    CARD: "bundled-weights.md",
}
SETTINGS = "<!-- settings -->"  # where the table of settings stands
BASE = "base"  # the modules directly in the package, and `_utils`
WIDTH, BOX, GAP, MARGIN = 720, 44, 14, 16  # of the drawing, in pixels


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are not in ``docs/``."""
    for path, page in INCLUDED.items():
        text = (ROOT / path).read_text(encoding="utf-8")
        files.append(File.generated(config, page, content=_linked(text)))
    files.append(File.generated(config, "glossary.md", content=glossary_page()))
    modules = _modules()
    levels = _levels(_folder_imports(modules))
    files.append(File.generated(config, "images/modules.svg", content=_drawing(levels, modules)))
    files.append(File.generated(config, "architecture.md", content=_architecture(levels, modules)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Let links to included files, which are right in the repository, lead to their pages; fill in the settings."""
    if SETTINGS in markdown:
        markdown = markdown.replace(SETTINGS, _settings())
    return _linked(markdown)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Refuse pages that would load anything from another host."""
    found = re.search(r"<(?:script|link|img|iframe|source)\b[^>]*\b(?:src|href)=[\"']?(?:https?:)?//[^\"'\s>]*", output)
    if found:
        raise PluginError(f"{page.file.src_uri} asks another host: {found[0]}")
    return output


def _linked(text: str) -> str:
    """Return Markdown whose links to files of the repository are links between pages."""
    for path, page in INCLUDED.items():
        text = re.sub(rf"\]\((?:\.\./)*{re.escape(path)}(?=[)#])", f"]({page}", text)
    return re.sub(r"\]\((?:\.\./)*docs/", "](", text)


def _settings() -> str:
    """Return a table of the fields of `TrainConfig` for each group, from its source."""
    tree = ast.parse((CODE / "config.py").read_text(encoding="utf-8"))
    config = next(node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "TrainConfig")
    tables: dict[str, list[str]] = {}
    for node in config.body:
        annotation = node.annotation if isinstance(node, ast.AnnAssign) else None
        if not (isinstance(annotation, ast.Subscript) and isinstance(annotation.slice, ast.Tuple)):
            continue
        kind, field = annotation.slice.elts
        group, meaning = map(ast.literal_eval, field.args)
        unset = next((ast.literal_eval(word.value) for word in field.keywords if word.arg == "unset"), "")
        default = f"`{ast.unparse(node.value)}`" if node.value else "required"
        cells = [f"`{ast.unparse(node.target)}`", f"`{ast.unparse(kind)}`", default + (f": {unset}" if unset else "")]
        head = [f"**{group}**", "", "| setting | type | default | meaning |", "|---|---|---|---|"]
        tables.setdefault(group, head).append(f"| {' | '.join([*cells, meaning])} |")  # a bar in code divides no cells
    return "\n\n".join("\n".join(lines) for lines in tables.values())


def glossary_page() -> str:
    """Return the terms of a report with their explanations, from the table in the code."""
    tree = ast.parse((CODE / "report" / "glossary.py").read_text(encoding="utf-8"))
    table = next(
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(name) for name in node.targets] == ["GLOSSARY"]
    )
    lines = ["# Glossary", "", "The terms of a report. In `report.html`, each explains itself on hover, tap or Enter."]
    for term, explanation in ast.literal_eval(table).items():
        lines += ["", f"## {term}", "", explanation]
    return "\n".join([*lines, ""])


def _modules() -> dict[str, ast.Module]:
    """Return every module's syntax tree by its path below the package, such as ``data/idx.py``."""
    files = [path for path in sorted(CODE.rglob("*.py")) if path.stem not in ("__init__", "__main__")]
    return {path.relative_to(CODE).as_posix(): ast.parse(path.read_text(encoding="utf-8"), str(path)) for path in files}


def _folder(module: str) -> str:
    folder = module.rpartition("/")[0].partition("/")[0]
    return BASE if folder in ("", "_utils") else folder


def _folder_imports(modules: dict[str, ast.Module]) -> dict[str, set[str]]:
    """Return for each folder the other folders that its modules import from."""
    folders = {_folder(module) for module in modules}
    imports: dict[str, set[str]] = {folder: set() for folder in folders}
    for module, tree in modules.items():
        for node in ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module] if node.module != "frostline" else [f"frostline.{a.name}" for a in node.names]
            for name in names:
                package, _, rest = name.partition(".")
                if package == "frostline" and rest:
                    target = rest.split(".")[0]
                    imports[_folder(module)].add(target if target in folders else BASE)
    return {folder: targets - {folder} for folder, targets in imports.items()}


def _levels(imports: dict[str, set[str]]) -> list[dict[str, set[str]]]:
    """Return the folders in levels, each with what it imports from: always levels before its own."""
    sorter = TopologicalSorter(imports)
    try:
        sorter.prepare()
    except CycleError as error:
        raise PluginError(f"folders of src/frostline import each other: {' -> '.join(error.args[1])}") from error
    levels = []
    while sorter.is_active():
        ready = sorted(sorter.get_ready())
        levels.append({folder: imports[folder] for folder in ready})
        sorter.done(*ready)
    return levels


def _of(folder: str, modules: dict[str, ast.Module]) -> list[str]:
    return [module for module in modules if _folder(module) == folder]


def _summary(tree: ast.Module) -> str:
    """Return the first sentence of a module's docstring."""
    paragraph = " ".join((ast.get_docstring(tree) or "").split("\n\n")[0].split())
    return re.split(r"(?<=[.!?]) (?=[A-Z])", paragraph)[0]


def _drawing(levels: list[dict[str, set[str]]], modules: dict[str, ast.Module]) -> str:
    """Draw one row of boxes for each level."""
    height = len(levels) * (BOX + GAP) - GAP + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" '
        f'font-size="17" text-anchor="middle"><rect width="{WIDTH}" height="{height}" rx="8" fill="#f4f7f9"/>'
    ]
    for row, level in enumerate(levels):
        width = (WIDTH - 2 * MARGIN - (len(level) - 1) * GAP) / len(level)
        for column, folder in enumerate(level):
            left, top = MARGIN + column * (width + GAP), MARGIN + row * (BOX + GAP)
            label = f"{escape(folder)} <tspan fill='#607d8b' font-size='13'>{len(_of(folder, modules))}</tspan>"
            parts.append(
                f'<rect x="{left:.1f}" y="{top}" width="{width:.1f}" height="{BOX}" rx="6" fill="#fff" '
                f'stroke="#78909c"/><text x="{left + width / 2:.1f}" y="{top + BOX / 2 + 6}" fill="#263238">'
                f"{label}</text>"
            )
    return "\n".join([*parts, "</svg>\n"])


def _architecture(levels: list[dict[str, set[str]]], modules: dict[str, ast.Module]) -> str:
    """Write the page: the drawing, what each folder imports, and what each module is for."""
    lines = [
        "# The modules",
        "",
        "This page is generated from the imports and docstrings of `src/frostline` when the documentation is built.",
        "",
        "![The folders of src/frostline in rows](images/modules.svg)",
        "",
        "A folder imports only from rows above its own. The number in a box counts its modules; *base* stands for the "
        "modules directly in the package and those in `_utils`. `tests/test_architecture.py` fails when an import "
        "points down or when modules import each other in a cycle. [How it works](how-it-works.md) explains how data "
        "passes through the folders.",
        "",
        "| folder | imports from | modules |",
        "|---|---|---|",
    ]
    order = [folder for level in levels for folder in level]
    for level in levels:
        for folder, imports in level.items():
            named = ", ".join(sorted(imports, key=order.index)) or "–"
            lines.append(f"| [{folder}](#{folder}) | {named} | {len(_of(folder, modules))} |")
    for folder in order:
        lines += ["", f"## {folder}", "", "| module | purpose |", "|---|---|"]
        for module in _of(folder, modules):
            purpose = escape(_summary(modules[module]), quote=False).replace("|", "\\|")
            lines.append(f"| `{module}` | {purpose} |")
    return "\n".join([*lines, ""])
