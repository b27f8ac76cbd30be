"""The architecture: who may import whom, how long files grow, what a user's --help costs."""

import ast
import subprocess
import sys

import pytest

from tests.conftest import ROOT

PACKAGE = "imagenet_errors"
MODULES = sorted((ROOT / "src").rglob("*.py"))
# Imports run one way: a module may import those of earlier layers, or of its own; wings side by side do not meet.
BASE = ("errors", "files", "locks", "paths", "error_types", "processes", "progress")
LAYERS = {
    "errors": (),
    "processes": ("errors",),
    "progress": (),
    "locks": (),
    "files": ("errors", "processes"),
    "paths": ("errors", "files"),
    "error_types": (),
    "cli": (*BASE, "dataset.dataset_table"),
    "latex": (*BASE, "dataset"),
    "download": BASE,
    "public_files": (*BASE, "dataset.classes", "download"),
    "dataset": BASE,
    "formats": (*BASE, "dataset"),
    "models": (*BASE, "dataset", "formats"),
    "analysis": (*BASE, "dataset", "formats"),
    "paper_archive": (*BASE, "dataset", "formats"),
    "plots": (*BASE, "dataset", "formats"),
    "inference": (*BASE, "dataset", "formats", "models", "download"),
    "maintenance": (*BASE, "dataset", "formats", "models", "inference", "download"),
    "verify": (*BASE, "dataset", "formats", "models", "analysis", "paper_archive", "public_files"),
}
# Imports that still run the wrong way.
EXCEPTIONS = {"models/registry.py": {"imagenet_errors.inference", "imagenet_errors.inference.own_models"}}
HEAVY = {"torch", "torchvision", "timm", "transformers", "open_clip", "PIL"}


def imports(path) -> set[str]:
    """Every module that a file imports, at the top or inside functions; `from a import b` counts as `a` and `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            found.update({node.module, *(f"{node.module}.{alias.name}" for alias in node.names)})
    return found


def layer(path) -> str:
    return path.relative_to(ROOT / "src" / PACKAGE).with_suffix("").parts[0]


LIBRARY = [path for path in MODULES if PACKAGE in path.parts and path.name != "__init__.py"]


@pytest.mark.parametrize("path", LIBRARY, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_imports_run_both_ways(path):
    allowed = tuple(f"{PACKAGE}.{name}" for name in (layer(path), *LAYERS[layer(path)]))
    ours = {name for name in imports(path) if name.startswith(f"{PACKAGE}.")}
    wrong = {name for name in ours if not f"{name}.".startswith(tuple(f"{layer}." for layer in allowed))}
    assert wrong <= EXCEPTIONS.get(path.relative_to(ROOT / "src" / PACKAGE).as_posix(), set())


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_torch_leaks_out_of_inference(path):
    if not {"inference", "maintenance"} & set(path.parts) and path.name != "registry.py":
        assert not {name.split(".")[0] for name in imports(path)} & HEAVY


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(ROOT / "src")))
def test_files_grow_beyond_one_subject(path):
    tree = ast.parse(path.read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    assert len(path.read_text().splitlines()) <= 400
    long = {node.name: node.end_lineno - node.lineno for node in functions if node.end_lineno - node.lineno > 65}
    assert not long, "functions of more than 65 lines, docstrings included"


@pytest.mark.parametrize(
    "script",
    [
        "evaluation",
        "collect_predictions",
        "compute_clip_embeddings",
        "download_artefacts",
        "list_latex",
        "make_artefacts",
        "utils_plot",
    ],
)
def test_help_pays_for_what_it_does_not_use(script):
    code = (
        f"import sys, runpy; sys.argv = ['{script}.py', '--help']\n"
        f"try: runpy.run_module('{script}', run_name='__main__')\n"
        "except SystemExit: print(sorted({'pandas', 'matplotlib', 'torch', 'timm', 'pyarrow'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "src", check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_analysis_imports_torch():
    code = "import sys; import evaluation, imagenet_errors.analysis.study as s; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "src", check=True)
    assert done.stdout == "False\n"
