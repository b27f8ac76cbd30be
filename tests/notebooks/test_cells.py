"""What boxes say: to readers of a notebook, who have its first cell and no flags."""

import pytest

from imagenet_errors.errors import InputError
from imagenet_errors.notebooks import cells


@pytest.fixture
def shown(monkeypatch) -> list[str]:
    texts: list[str] = []
    monkeypatch.setattr(cells, "show_box", texts.append)
    return texts


def test_box_names_the_first_cell_instead_of_a_flag(shown):
    with cells.errors_in_boxes():
        raise InputError("other images: use another --artefacts_dir")
    assert shown == ["other images: use another artefacts_dir in the first cell"]


def test_commands_in_boxes_are_as_they_are(shown):
    with cells.errors_in_boxes():
        raise InputError("a.json is missing: get it with download_artefacts.py --what mistakes")
    assert shown == ["a.json is missing: get it with download_artefacts.py --what mistakes"]
