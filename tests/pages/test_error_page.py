"""The page of one model's errors: its numbers, its size, and that names in it are text."""

import base64
import io
import json
import re
from collections import Counter
from html.parser import HTMLParser

import numpy as np
import pytest
from PIL import Image

from imagenet_errors.analysis.browse import list_errors, read_others
from imagenet_errors.errors import InputError
from imagenet_errors.pages.error_page import render, write_error_page
from imagenet_errors.pages.pictures import locate_images
from tests.conftest import refused
from tests.pages.conftest import FIRST, HOSTILE, OTHER


@pytest.fixture
def make(call, analysed, tmp_path):
    """Run report.py with a page; gives its outcome."""

    def run(*flags):
        return call("report", "--model", FIRST, "--artefacts_dir", analysed / "artefacts", "--format", "json", *flags)

    return run


class Page(HTMLParser):
    """Tags with their attributes, and the text in each kind of tag."""

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.texts = [], {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_data(self, data):
        self.texts.setdefault(self.tags[-1][0] if self.tags else "", []).append(data)


def read_data(text: str):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL).group(1))


def test_numbers_are_those_of_the_reports(make, tmp_path):
    printed = json.loads(make("--page", tmp_path / "one.html").stdout)
    compared = json.loads(make("--compare", OTHER, "--page", tmp_path / "two.html").stdout)
    one, two = (read_data((tmp_path / f"{name}.html").read_text()) for name in ("one", "two"))
    made_from = printed.pop("made_from")
    assert one["made_from"] == made_from
    assert {"schema_version": 1, **one["profile"]} == {"schema_version": 1, **printed}
    assert one["comparisons"] == []
    assert two["profile"] == one["profile"]
    pair = two["comparisons"][0]
    assert {name: pair[name] for name in compared.keys() - {"schema_version", "made_from"}} == {
        name: value for name, value in compared.items() if name not in ("schema_version", "made_from")
    }


def test_errors_of_each_type_and_group_are_as_many_as_the_profile_counts(payload):
    errors = payload["errors"]
    names = [one["name"] for one in payload["types"]]
    bits = {"all": 0} | {group: 1 << position for position, group in enumerate(payload["groups"])}
    types, groups = np.array(errors["type"]), np.array(errors["groups"])
    for line in payload["profile"]["error_types"]:
        of_group = (groups & bits[line["group"]]) == bits[line["group"]]
        assert ((types == names.index(line["error_type"])) & of_group).sum() == (line["count"] or 0)


def test_expected_errors_of_classes_add_up_to_the_errors(payload):
    expected, is_error = payload["class_errors"]["expected"], np.array(payload["errors"]["type"]) != 0
    counts = np.bincount(np.array(payload["errors"]["label"])[is_error], minlength=1000)
    assert payload["class_errors"]["num_models"] == 11
    assert sum(expected) == pytest.approx(counts.sum(), abs=5)
    assert np.abs(counts - expected).mean() < np.abs(counts - counts.mean()).mean()


def test_transitions_are_as_many_as_the_errors_that_their_cells_filter(payload):
    names = [one["name"] for one in payload["types"]]
    first, second = np.array(payload["errors"]["type"]), np.array(payload["errors"]["compared"][0]["type"])
    for line in payload["comparisons"][0]["transitions"]:
        for name in names:
            if line[name] is not None and (line["first"], name) != ("correct", "correct"):
                cell = (first == names.index(line["first"])) & (second == names.index(name))
                assert cell.sum() == line[name]


def test_columns_hold_the_table_of_errors(context, models, payload):
    table = list_errors(context, models[0], models[1:], read_others(context, [FIRST]))
    errors, names = payload["errors"], [one["name"] for one in payload["types"]]
    for name in ("file", "label", "prediction", "num_same", "num_others"):
        assert errors[name] == table[name].tolist()
    assert [tuple(labels) for labels in errors["accepted"]] == table.accepted.tolist()
    assert [names[code] for code in errors["type"]] == table.error_type.tolist()
    for column, of in (("reason", "sentences"), ("superclasses", "superclass_names")):
        decoded = [tuple(errors[of][code] for code in codes) for codes in errors[column]]
        assert decoded == table[column].tolist()


def test_page_is_small_and_asks_no_other_host(payload):
    text = render(payload)
    num_errors = len(payload["errors"]["file"])
    assert num_errors > 4_000
    assert len(text.encode()) < 6e6 * num_errors / 5_000
    assert not re.findall(r"(?:https?:)?//[a-z0-9-]+\.[a-z]", text.replace("http://www.w3.org/2000/svg", ""))
    page = Page(text)
    assert not [attributes for _, attributes in page.tags if {"src", "srcset"} & attributes.keys()]
    assert {attributes.get("href") for tag, attributes in page.tags} <= {None, "#gallery"}
    policy = next(one["content"] for tag, one in page.tags if one.get("http-equiv") == "Content-Security-Policy")
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in re.search(r"script-src[^;]*", policy).group()


def test_hostile_names_are_text(payload, hostile):
    text = render(hostile)
    assert read_data(text)["errors"]["file"][0].endswith(HOSTILE)
    assert [tag for tag, _ in Page(text).tags] == [tag for tag, _ in Page(render(payload)).tags]


def test_images_are_named_relative_to_the_page(tmp_path):
    folders, flat, page = tmp_path / "im ages#", tmp_path / "flat", tmp_path / "out" / "page.html"
    files = ["n01440764/a 1.JPEG", "n01440764/b.JPEG"]
    (folders / "n01440764").mkdir(parents=True)
    flat.mkdir()
    (folders / files[1]).write_bytes(b"")
    (flat / "a 1.JPEG").write_bytes(b"")
    assert locate_images(files, folders, page) == {"base": "../im%20ages%23", "is_flat": False, "has": [0, 1]}
    assert locate_images(files, flat, page) == {"base": "../flat", "is_flat": True, "has": [1, 0]}
    with pytest.raises(InputError, match=r"none of the 2 images is there, e\.g\. n01440764/a 1\.JPEG"):
        locate_images(files, tmp_path, page)


def test_page_replaces_an_older_one_and_pages_are_the_same_each_time(context, models, tmp_path):
    path = tmp_path / "page.html"
    path.write_text("old")
    write_error_page(context, models[:1], None, path)
    first = path.read_bytes()
    assert len(first) > 100_000
    write_error_page(context, models[:1], None, path)
    assert path.read_bytes() == first


def test_page_holds_thumbnails_of_the_first_errors_of_each_type(shared, make, tmp_path):
    images, path = shared / "images" / "val", tmp_path / "page.html"
    done = make("--page", path, "--images", images, "--embed_images", 2)
    assert done.status == 0, done
    data = read_data(path.read_text())
    expected, seen = [], Counter()
    for row, (file, kind) in enumerate(zip(data["errors"]["file"], data["errors"]["type"], strict=True)):
        if (images / file).is_file() and seen[kind] < 2:
            seen[kind] += 1
            expected.append(row)
    embedded = data["images"]["embedded"]
    assert list(map(int, embedded)) == expected
    assert len(expected) > 5
    for thumbnail in embedded.values():
        with Image.open(io.BytesIO(base64.b64decode(thumbnail))) as picture:
            assert picture.format == "JPEG"
            assert max(picture.size) <= 224
    assert f"It holds {len(expected)} images." in path.read_text()


def test_mistaken_flags_are_refused(make, call, tmp_path):
    assert refused(make("--page", tmp_path / "page.pdf"), "page.pdf: a page is a file named .html")
    assert refused(make("--images", tmp_path), "--images goes with --page")
    assert refused(make("--labels", "real", "--page", tmp_path / "page.html"), "page")
    assert refused(call("report", "--runs", "a", "b", "--page", tmp_path / "p.html"), "--page", "go with --model")
    assert refused(make("--page", tmp_path / "page.html", "--images", tmp_path), "--images", "is there, e.g. n0")
    assert refused(make("--page", tmp_path / "page.html", "--embed_images", 5), "--embed_images goes with --page")
    assert not list(tmp_path.iterdir())
