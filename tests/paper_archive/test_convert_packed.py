"""Archives that are read without being unpacked: what is known of them, and when they are read again."""

import json

import numpy as np
import pytest

from imagenet_errors import processes
from tests.helpers.archives import (
    MODELS,
    OWN,
    assert_tables,
    from_pandas,
    heavy,
    pack,
    put_predictions,
    put_samples,
    read_tables,
    stored,
)
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


def test_analyses_of_a_replaced_archive_are_converted_again(tmp_path, collect, few, group_classes):
    """Where the pickle is another; the user's own analysis of a model stays."""
    path, content = tmp_path / "models-imagenet.tar.gz", {model: from_pandas(frame) for model, frame in few.items()}
    member = "imagenet/{}/errors_analysis.pkl".format
    pack(path, {member(model): content[model] for model in MODELS} | {member("same"): content[MODELS[0]]})
    (tmp_path / "imagenet").mkdir()
    put_samples(tmp_path, few[MODELS[0]])
    put_predictions(tmp_path, OWN, np.roll(few[MODELS[0]].top1, 1))
    assert collect("--perform_error_analysis", "--collect_results").status == 0
    before = {model: stored(tmp_path, model).stat().st_mtime_ns for model in (*MODELS, "same", OWN)}
    swapped = dict(zip(MODELS, MODELS[::-1], strict=True)) | {"same": MODELS[0], OWN: MODELS[0]}
    pack(path, {member(model): content[other] for model, other in swapped.items()})
    done = collect()
    assert done.status == 0
    assert {line for line in done.stderr.splitlines() if "converted again" in line} == {
        f"{model}: converted again because the archive was replaced by another" for model in MODELS
    }
    found = {model: few[swapped[model]] for model in (*MODELS, "same")}
    assert_tables(tmp_path / "results", found, group_classes, (*MODELS, "same", OWN))
    after = {model: stored(tmp_path, model).stat().st_mtime_ns for model in before}
    assert {model for model in before if after[model] == before[model]} == {"same", OWN}
    assert "again" not in collect().stderr


@pytest.mark.parametrize("content", ["{", "[]", "old", "another model", *heavy("", "null", '{"models": 5}')])
def test_archive_is_read_again_where_its_record_is_damaged(tmp_path, collect, contents, content):
    """The record is archive.json; `old` is one without the models."""
    pack(tmp_path / "models-imagenet.tar.gz", contents)
    assert collect().status == 0
    record = tmp_path / "imagenet" / "archive.json"
    whole = record.read_text()
    if content == "old":
        content = json.dumps({key: value for key, value in json.loads(whole).items() if key != "models"})
    elif content == "another model":
        content = whole.replace("m--03", "m--33")
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
