"""What lies both packed and unpacked is converted once; archives are known by their names."""

import re

from tests.conftest import refused
from tests.helpers.archives import MODELS, pack, put, read_tables, stored


def test_archive_beside_its_unpacked_files_is_converted_once(tmp_path, collect, small_archives, contents):
    pack(tmp_path / "models-imagenet.tar.gz", contents)
    done = collect()
    assert done.status == 0
    assert re.findall(r"imagenet: (\d+) archived analyses converted", done.stderr) == [str(len(contents))]
    assert len(read_tables(tmp_path / "results")["all"]) == len(contents)
    assert "converted" not in collect().stderr


def test_damaged_unpacked_file_gives_way_to_the_archives(tmp_path, collect, small_archives, contents):
    put(tmp_path, MODELS[0], b"damaged")
    pack(tmp_path / "models-imagenet.tar.gz", contents)
    done = collect()
    assert done.status == 0
    assert f"imagenet: {len(contents)} archived analyses converted" in done.stderr
    assert stored(tmp_path).exists()


def test_archive_from_a_file_is_recognised_by_its_name(tmp_path, call, contents):
    archive, folder = tmp_path / "models-imagenet.tar.gz", tmp_path / "artefacts"
    pack(archive, contents)
    flags = ("--from_file", archive, "--artefacts_dir", folder)
    assert "evaluation.py --dataset imagenet --collect_results reads it" in call("download_artefacts", *flags).stderr
    assert (folder / archive.name).read_bytes() == archive.read_bytes()
    assert "exists and is kept" in call("download_artefacts", *flags).stderr
    pack(archive, dict(list(contents.items())[:1]))
    assert refused(call("download_artefacts", *flags), "exists and differs", "--overwrite replaces it")
    assert call("download_artefacts", *flags, "--overwrite").status == 0
    assert (folder / archive.name).read_bytes() == archive.read_bytes()


def test_file_named_like_an_archive_that_is_none_is_refused(tmp_path, call):
    path = tmp_path / "models-imagenet-a.tar.gz"
    assert refused(call("download_artefacts", "--from_file", path), path, "is missing or not a file")
    path.write_text("<html>not found</html>")
    assert refused(call("download_artefacts", "--from_file", path, "--artefacts_dir", tmp_path), "not a gzip archive")


def test_several_datasets_are_converted_in_one_run(tmp_path, call, contents):
    name, content = next(iter(contents.items()))
    pack(tmp_path / "models-imagenet.tar.gz", {name: content})
    pack(tmp_path / "models-imagenet-a.tar.gz", {name.replace("imagenet/", "imagenet-a/"): content})
    flags = ("--dataset", "imagenet", "imagenet-a", "--artefacts_dir", tmp_path)
    done = call("download_artefacts", "--convert_archives", *flags)
    assert "imagenet: 1 archived analyses converted" in done.stderr
    assert "imagenet-a: 1 archived analyses" in done.stderr, done.stderr
    export = call("download_artefacts", "--export_archive", tmp_path / "all.tar.gz", *flags)
    assert refused(export, "the archive of one dataset", "give one name to --dataset")


def test_export_without_models_is_refused(tmp_path, call):
    flags = ("--export_archive", tmp_path / "all.tar.gz", "--artefacts_dir", tmp_path)
    assert refused(call("download_artefacts", *flags), "no predictions and no archived analyses", "--from_file FILE")
    (tmp_path / "models-imagenet.tar.gz").touch()
    assert refused(call("download_artefacts", *flags), "models-imagenet.tar.gz is not converted", "--convert_archives")
