"""The rules of docs/architecture.md: who may import whom, how long files are, what the package and --help may load."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

SOURCE = ROOT / "src"
PACKAGE = SOURCE / "imagenet_errors"
SCRIPTS = sorted(SOURCE.glob("*.py"))
MODULES = sorted(path for path in PACKAGE.rglob("*.py") if path != PACKAGE / "__init__.py")
PYTHON_FILES = [path for folder in ("src", "tests", "benchmarks") for path in sorted((ROOT / folder).rglob("*.py"))]

# What the modules of a room (a folder or a single module of the package) may import besides those of their own room.
BASE = ("errors", "signals", "processes", "progress", "locks", "files", "paths", "error_types", "terminal")
LAYERS = {
    "errors": (),
    "signals": (),
    "error_types": (),
    "progress": (),
    "terminal": (),
    "locks": (),
    "processes": ("errors", "signals"),
    "files": ("errors", "processes"),
    "paths": ("errors", "files"),
    "download": BASE,
    "dataset": BASE,
    "cli": (*BASE, "dataset"),
    "latex": (*BASE, "dataset"),
    "public_files": (*BASE, "dataset", "download"),
    "formats": (*BASE, "dataset"),
    "models": (*BASE, "dataset", "formats"),
    "importing": (*BASE, "dataset", "formats", "models"),
    "analysis": (*BASE, "dataset", "formats", "latex"),
    "paper_archive": (*BASE, "dataset", "formats"),
    "plots": (*BASE, "dataset", "formats"),
    "reporting": (*BASE, "dataset", "formats", "models", "importing", "analysis", "plots", "pages"),
    "pages": (*BASE, "dataset", "formats", "inference", "analysis", "plots"),
    "inference": (*BASE, "dataset", "formats", "models", "download"),
    "notebooks": (
        *(*BASE, "dataset", "formats", "models", "importing", "analysis", "plots", "reporting"),
        "inference",
    ),
    "maintenance": (*BASE, "dataset", "formats", "models", "inference", "download"),
    "simulation": (*BASE, "dataset"),
    "api": (*BASE, "dataset", "formats", "models", "importing", "inference", "analysis"),
    "verify": (*BASE, "dataset", "formats", "models", "analysis", "paper_archive", "public_files"),
}
INFERENCE_LIBRARIES = {"torch", "torchvision", "timm", "transformers", "open_clip", "PIL"}
ROOMS_WITH_TORCH = {"inference", "maintenance"}
NOT_FOR_HELP = {"pandas", "matplotlib", "pyarrow", "scipy"} | INFERENCE_LIBRARIES

MOST_LINES, MOST_LINES_OF_SCRIPT, MOST_LINES_OF_FUNCTION = 400, 150, 50
LEFTOVERS = (".orig", ".rej", ".bak", ".swp", ".log")

# What breaks a rule today. An entry whose file obeys the rule fails the test, so that these only shrink.
IMPORT_EXCEPTIONS: set[str] = set()
LONG_FILES: set[str] = set()
LONG_FUNCTIONS: set[str] = set()


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room_of(module: Path) -> str:
    return module.relative_to(PACKAGE).with_suffix("").parts[0]


def find_imports(path: Path) -> set[str]:
    """Every module that a file imports, at the top or inside functions; `from a import b` counts as `a` and `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)}:{node.lineno} is a relative import"
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return found


def is_allowed(room: str, imported: str) -> bool:
    """Whether a module of this room may import `imported`."""
    library, *rest = imported.split(".")
    if library == PACKAGE.name:
        return not rest or rest[0] in ("__version__", room, *LAYERS[room])
    return room in ROOMS_WITH_TORCH or library not in INFERENCE_LIBRARIES


def test_imports_run_one_way_and_torch_stays_in_its_rooms():
    wrong = {
        f"{name_of(path)} imports {imported}"
        for path in MODULES
        for imported in find_imports(path)
        if not is_allowed(room_of(path), imported)
    }
    assert wrong == IMPORT_EXCEPTIONS


def test_scripts_import_no_torch_themselves():
    assert not {
        path.name for path in SCRIPTS if {name.split(".")[0] for name in find_imports(path)} & INFERENCE_LIBRARIES
    }


def test_every_room_has_its_layer():
    assert {room_of(path) for path in MODULES} == set(LAYERS)


def test_files_are_short():
    limits = {path: MOST_LINES_OF_SCRIPT if path in SCRIPTS else MOST_LINES for path in PYTHON_FILES}
    long = {name_of(path) for path, limit in limits.items() if len(path.read_text().splitlines()) > limit}
    assert long == LONG_FILES


def test_functions_are_short():
    long = {
        f"{name_of(path)}: {node.name}"
        for path in PYTHON_FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > MOST_LINES_OF_FUNCTION
    }
    assert long == LONG_FUNCTIONS


def test_package_holds_python_files_and_what_pages_are_made_of():
    """A style sheet or a script lies beside the module that names and inlines it."""
    files = [path for path in PACKAGE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    others = [path for path in files if path.suffix != ".py" and path.name != "py.typed"]
    assert {path.suffix for path in others} <= {".css", ".js"}
    modules = {path: "".join(module.read_text() for module in path.parent.glob("*.py")) for path in others}
    assert not [name_of(path) for path, beside in modules.items() if path.name not in beside]


def test_no_leftovers_are_tracked():
    tracked = subprocess.run(["git", "ls-files"], capture_output=True, text=True, cwd=ROOT)
    if tracked.returncode:
        pytest.skip("not a git checkout")
    assert not [name for name in tracked.stdout.splitlines() if name.endswith(LEFTOVERS)]


@pytest.mark.parametrize("script", [path.stem for path in SCRIPTS])
def test_help_loads_no_large_library(script):
    code = (
        f"import sys, runpy; sys.argv = ['{script}.py', '--help']\n"
        f"try: runpy.run_module('{script}', run_name='__main__')\n"
        f"except SystemExit: print(sorted({NOT_FOR_HELP} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SOURCE, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_torch_is_loaded_by_its_rooms_alone():
    exempt = {entry.split()[0] for entry in IMPORT_EXCEPTIONS}
    light = [path for path in MODULES if room_of(path) not in ROOMS_WITH_TORCH and name_of(path) not in exempt]
    names = [".".join(path.relative_to(SOURCE).with_suffix("").parts).removesuffix(".__init__") for path in light]
    code = (
        f"import importlib, sys\nfor name in {names}: importlib.import_module(name)\n"
        f"print(sorted({INFERENCE_LIBRARIES - {'PIL'}} & set(sys.modules)))"  # matplotlib loads Pillow
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SOURCE, check=True)
    assert done.stdout == "[]\n"
