"""Archives that are read without being unpacked: what is known of them, and when they are read again."""

import json

import pytest

from imagenet_errors import processes
from tests.helpers.archives import MODELS, heavy, pack, read_tables
from tests.helpers.opened_files import count_reads


def test_replaced_archive_is_read_again(tmp_path, collect, contents, few):
    path = tmp_path / "models-imagenet.tar.gz"
    names = list(contents)
    pack(path, {name: contents[name] for name in names[:2]})
    assert collect().status == 0
    assert len(read_tables(tmp_path / "results")["all"]) == 2
    pack(path, contents)
    assert collect().status == 0
    assert len(read_tables(tmp_path / "results")["all"]) == 12


@pytest.mark.parametrize("content", ["{", "[]", "old", *heavy("", "null", '{"models": 5}')])
def test_archive_is_read_again_where_its_record_is_damaged(tmp_path, collect, contents, content):
    """The record is archive.json; `old` is one without the models."""
    pack(tmp_path / "models-imagenet.tar.gz", contents)
    assert collect().status == 0
    record = tmp_path / "imagenet" / "archive.json"
    whole = record.read_text()
    record.write_text(json.dumps({key: value for key, value in json.loads(whole).items() if key != "models"}))
    if content != "old":
        record.write_text(content)
    done = collect()
    assert done.status == 0, done.stderr
    assert record.read_text() == whole


def test_known_archive_is_not_opened(tmp_path, collect, contents, monkeypatch):
    pack(tmp_path / "models-imagenet.tar.gz", contents)
    assert collect().status == 0

    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(processes, "pool", refuse)
    with count_reads(tmp_path) as reads:
        assert collect().status == 0
    assert "archive.json" in {path.name for path in reads}
    assert not [path for path in reads if path.name == "models-imagenet.tar.gz"]


def test_metadata_in_the_folder_are_kept(tmp_path, collect, contents):
    metadata = {name.replace("errors_analysis.pkl", "metadata.json"): b'{"arch": "vit"}' for name in contents}
    pack(tmp_path / "models-imagenet.tar.gz", metadata | contents)
    ours = tmp_path / "imagenet" / MODELS[0] / "metadata.json"
    ours.parent.mkdir(parents=True)
    ours.write_text('{"arch": "resnet"}')
    assert collect().status == 0
    found = {model: row["arch"] for model, row in read_tables(tmp_path / "results")["all"].items()}
    assert found.pop(MODELS[0]) == "resnet"
    assert set(found.values()) == {"vit"}


def test_members_may_lie_below_artefacts(tmp_path, collect, contents):
    """As in the archive of everything."""
    pack(tmp_path / "models-imagenet.tar.gz", {f"artefacts/{name}": content for name, content in contents.items()})
    assert collect().status == 0
    assert len(read_tables(tmp_path / "results")["all"]) == 12
