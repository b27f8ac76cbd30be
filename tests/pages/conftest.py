"""Models for pages: ResNet-50 and a vision transformer beside it, and the same with hostile names."""

import shutil
import subprocess
from dataclasses import replace

import pytest

from imagenet_errors.analysis import study
from imagenet_errors.analysis.analysed_models import analyse_files
from imagenet_errors.analysis.collecting import StatsTables
from imagenet_errors.analysis.context import load_context
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.analysis.reference import load_reference
from imagenet_errors.pages import zoo_page
from imagenet_errors.pages.error_page import make_payload
from imagenet_errors.paths import Artefacts
from imagenet_errors.reporting.zoo import describe_figures
from tests.conftest import COMMITTED
from tests.helpers.plain_figures import made_tables

AXE = "axe-core@4.14.1"
FIRST, OTHER = "pytorch--resnet50", "imagenetx--ViT"
RUN = "document.title='run'"
HOSTILE = f'</script><script>{RUN}</script>\n"\'<img src=x onerror="{RUN}">&amp;\u2028\u202eabc'


@pytest.fixture(scope="session")
def context(analysed):
    return load_context(Artefacts(analysed / "artefacts"), "imagenet")


@pytest.fixture(scope="session")
def models(context):
    return analyse_files([ModelFiles(context, name) for name in (FIRST, OTHER)])


@pytest.fixture(scope="session")
def payload(context, models, tmp_path_factory):
    return make_payload(context, models, load_reference("imagenet"), tmp_path_factory.mktemp("page") / "page.html")


@pytest.fixture(scope="session")
def hostile(context, models, tmp_path_factory):
    """The payload of models, files, classes and superclasses whose names have HOSTILE in them."""
    images, classes, superclasses = context.images, context.classes, context.superclasses
    named = replace(
        context,
        images=replace(images, files=images.files.astype(object) + HOSTILE),
        classes=replace(classes, descriptions=tuple(f"{HOSTILE} {one}" for one in classes.descriptions)),
        superclasses=replace(superclasses, names=tuple(one + HOSTILE for one in superclasses.names)),
    )
    renamed = [replace(one, analysis=replace(one.analysis, model=one.name + HOSTILE)) for one in models]
    return make_payload(named, renamed, None, tmp_path_factory.mktemp("hostile") / "page.html")


@pytest.fixture(scope="session")
def axe(tmp_path_factory):
    """The script of axe-core, which finds faults of accessibility, from the npm registry."""
    folder = tmp_path_factory.mktemp("axe")
    if shutil.which("npm") is None:
        pytest.skip("npm, which fetches axe-core, is not installed")
    command = ["npm", "pack", AXE, "--silent"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        pytest.skip("no npm registry answers")
    if done.returncode:
        pytest.skip(f"npm cannot fetch {AXE}: {done.stderr[-200:]}")
    shutil.unpack_archive(folder / done.stdout.strip(), folder)
    return (folder / "package" / "axe.min.js").read_text()


@pytest.fixture(scope="session")
def folder_models(context):
    """The files of the twelve models."""
    return study.load_models(context)


@pytest.fixture(scope="session")
def analyses(folder_models):
    return study.select_finished(folder_models)[0]


@pytest.fixture(scope="session")
def tables(analyses):
    """Made-up tables of models of the same names, with numbers for all figures."""
    rows = made_tables(len(analyses))
    for of_group in rows.values():
        for row, analysis in zip(of_group, analyses, strict=True):
            row["model_dir_id"] = analysis.model
    return StatsTables([], rows, None)


@pytest.fixture(scope="session")
def zoo(context, folder_models, analyses, tables, tmp_path_factory):
    """The payload of the page of the twelve, with figures of the made-up tables."""
    figures = describe_figures(COMMITTED, "imagenet", tables)
    path = tmp_path_factory.mktemp("zoo") / "zoo.html"
    return zoo_page.make_payload(context, folder_models, analyses, figures, [], path)
