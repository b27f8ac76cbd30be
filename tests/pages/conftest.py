"""Models for pages: ResNet-50 and a vision transformer beside it, and the same with hostile names."""

from dataclasses import replace

import pytest

from imagenet_errors.analysis.analysed_models import analyse_files
from imagenet_errors.analysis.context import load_context
from imagenet_errors.analysis.model_files import ModelFiles
from imagenet_errors.analysis.reference import load_reference
from imagenet_errors.pages.error_page import make_payload
from imagenet_errors.paths import Artefacts

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
