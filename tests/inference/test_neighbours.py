"""The nearest training images: exact, whatever ties, blocks and memory there are."""

from functools import reduce

import numpy as np
import pytest
import torch

from imagenet_errors.errors import InputError
from imagenet_errors.formats.embeddings import Embeddings, read_neighbours, write_embeddings
from imagenet_errors.inference.neighbours import Nearest, check_number, find_nearest
from tests.conftest import refused

SMALLEST = 1e-9  # GB: as many column blocks as there can be


def units(m, width, seed):
    vectors = np.random.default_rng(seed).normal(size=(m, width)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def halves(m, seed):
    """Unit vectors whose products are exact multiples of a quarter, in any precision: nearly all of them are ties."""
    rng = np.random.default_rng(seed)
    vectors = np.zeros((m, 8), np.float32)
    for vector in vectors:
        vector[rng.choice(8, 4, replace=False)] = rng.choice([-0.5, 0.5], 4)
    return vectors


def found(queries, train, memory_gb=2.0):
    return find_nearest(queries, train, torch.device("cpu"), memory_gb).rows


def similarities(queries, train):
    return queries.astype(np.float64) @ train.astype(np.float64).T


def plain(queries, train):
    return np.argsort(-similarities(queries, train), axis=1, kind="stable")[:, :50]


@pytest.mark.parametrize(("num_train", "width"), [(51, 16), (64, 16), (65, 16), (700, 32), (5000, 24)])
@pytest.mark.parametrize("memory_gb", [SMALLEST, 2.0])
def test_neighbours_equal_those_of_scikit_learn(num_train, width, memory_gb):
    sklearn = pytest.importorskip("sklearn.neighbors")
    queries, train = units(40, width, 1), units(num_train, width, 2)
    search = sklearn.NearestNeighbors(n_neighbors=51, algorithm="brute", metric="cosine").fit(train.astype(np.float64))
    distances, theirs = search.kneighbors(queries.astype(np.float64))
    sure = distances[:, 50] - distances[:, 49] > 1e-6
    assert sure.sum() >= 30
    ours = found(queries, train, memory_gb)
    assert ours.dtype == np.int32
    for row in np.flatnonzero(sure):
        assert set(ours[row]) == set(theirs[row, :50])
    np.testing.assert_array_equal(ours, plain(queries, train))


def test_neighbours_are_ordered_by_similarity():
    queries, train = units(20, 32, 3), units(900, 32, 4)
    values = np.take_along_axis(similarities(queries, train), found(queries, train), axis=1)
    assert (np.diff(values) <= 0).all()
    assert (values[:, 0] == similarities(queries, train).max(axis=1)).all()


@pytest.mark.parametrize("memory_gb", [SMALLEST, 3e-7, 2.0])
def test_ties_are_broken_by_row(memory_gb):
    """300 images are two blocks of queries; of 700 training images hundreds tie with the fiftieth."""
    queries, train = halves(300, 5), halves(700, 6)
    np.testing.assert_array_equal(found(queries, train, memory_gb), plain(queries, train))


@pytest.mark.parametrize("duplicates", [13, 14, 15, 16, 63, 64, 65, 300])
@pytest.mark.parametrize("closer", [0, 40, 49])
def test_duplicates_around_the_fiftieth_are_ordered_by_row(duplicates, closer):
    """`closer` training images are nearer than all the duplicates, which lie scattered among farther ones."""
    rng = np.random.default_rng(duplicates)
    query, away = np.eye(48, dtype=np.float32)[:2]

    def at(cosine):
        return np.float32(cosine) * query + np.float32(np.sqrt(1 - cosine**2)) * away

    rows = [at(0.9 + 0.001 * i) for i in range(closer)] + [at(0.5)] * duplicates
    rows += [at(0.4 - 0.001 * i) for i in range(100)]
    train = np.array(rows)[rng.permutation(len(rows))]
    for memory_gb in (SMALLEST, 2.0):
        np.testing.assert_array_equal(found(query[None], train, memory_gb), plain(query[None], train))


@pytest.mark.parametrize("num_train", [50, 64, 65, 1000])
def test_equal_training_images_are_ordered_by_row(num_train):
    train = np.repeat(units(1, 768, 7), num_train, axis=0)
    for queries in (units(3, 768, 8), train[:3]):
        np.testing.assert_array_equal(found(queries, train, SMALLEST), np.tile(np.arange(50), (3, 1)))


def test_near_ties_are_decided_in_double_precision():
    """400 similarities within a few units of single precision's last place, different in double precision."""
    rng = np.random.default_rng(9)
    queries = units(10, 64, 10)
    train = np.concatenate([queries + 3e-8 * rng.normal(size=(10, 64)).astype(np.float32) for _ in range(400)])
    train = train.astype(np.float32)[rng.permutation(len(train))]
    exact = np.sort(similarities(queries, train), axis=1)[:, ::-1]
    assert (exact[:, 49] - exact[:, 150] < 2e-7).all()
    ours = found(queries, train)
    values = np.take_along_axis(similarities(queries, train), ours, axis=1)
    np.testing.assert_allclose(values, exact[:, :50], atol=1e-14, rtol=0)


def test_neighbours_do_not_depend_on_memory_and_other_images():
    queries, train = units(300, 16, 11), units(2000, 16, 12)
    whole = found(queries, train)
    for memory_gb in (SMALLEST, 4e-7, 1e-6):
        np.testing.assert_array_equal(found(queries, train, memory_gb), whole)
    for rows in (slice(0, 1), slice(255, 258), slice(299, 300)):
        np.testing.assert_array_equal(found(queries[rows], train), whole[rows])


def test_fewer_than_fifty_training_images_are_refused():
    train = units(50, 8, 13)
    with pytest.raises(InputError, match="49 training images for 50 neighbours"):
        check_number(train[:49])
    np.testing.assert_array_equal(np.sort(found(train[:3], train), axis=1), np.tile(np.arange(50), (3, 1)))


def in_blocks(queries, train, size):
    """As on a cluster: the nearest of every block of rows, merged, the last block first."""
    blocks = [
        find_nearest(queries, train[start : start + size], torch.device("cpu"), SMALLEST)
        for start in range(0, len(train), size)
    ]
    moved = [block._replace(rows=block.rows + np.int32(size * number)) for number, block in enumerate(blocks)]
    return reduce(Nearest.merge, reversed(moved)).rows


@pytest.mark.parametrize("size", [1, 49, 50, 64, 65, 300, 1000])
def test_neighbours_merged_from_blocks_equal_those_of_all(size):
    """Also where hundreds tie, and where similarities differ in double precision alone."""
    rng = np.random.default_rng(32)
    queries = units(20, 768, 33)
    near = np.concatenate([queries + 3e-8 * rng.normal(size=queries.shape).astype(np.float32) for _ in range(30)])
    worlds = [(halves(20, 34), halves(700, 35)), (units(20, 33, 36), units(700, 33, 37)), (queries, near)]
    for queries, train in worlds:
        whole, merged = found(queries, train), in_blocks(queries, train, size)
        assert merged.dtype == whole.dtype
        np.testing.assert_array_equal(merged, whole)


@pytest.fixture
def stored(call, tmp_path):
    """Store embeddings and find neighbours: `stored(images, train, *flags)`; the file is `stored.path`."""

    def run(images, train, *flags, image_clip="a", train_clip="a", targets=None):
        targets = (np.arange(len(train)) * 7 % 1000).astype(np.int16) if targets is None else targets
        for path, field, vectors, clip, classes in (
            (tmp_path / "imagenet" / "clip_image_embeddings.npz", "sample_files", images, image_clip, None),
            (tmp_path / "train_clip_embeddings.npz", "train_files", train, train_clip, targets),
        ):
            names = np.array([f"{i}.JPEG" for i in range(len(vectors))])
            write_embeddings(path, field, Embeddings(path, names, vectors, clip, classes))
        return again(*flags)

    def again(*flags):
        return call("compute_clip_embeddings", "--artefacts_dir", tmp_path, "--what", "neighbours", *flags)

    run.again = again
    run.path = tmp_path / "imagenet" / "valid_clip_knn.npz"
    return run


def test_written_classes_are_of_the_neighbours(stored):
    images, train = units(30, 16, 14), units(200, 16, 15)
    assert stored(images, train).status == 0
    with np.load(stored.path) as archive:
        arrays = {name: archive[name] for name in archive}
    assert arrays["topk_train_indices"].dtype == np.int32
    assert arrays["topk_train_targets"].dtype == np.int16
    np.testing.assert_array_equal(arrays["topk_train_targets"], arrays["topk_train_indices"] * 7 % 1000)
    np.testing.assert_array_equal(arrays["topk_train_indices"], plain(images, train))
    assert arrays["clip"] == "a"
    assert read_neighbours(stored.path, 30).inputs == str(arrays["inputs"])


def test_length_of_vectors_makes_no_difference(stored):
    """Half precision leaves lengths that are not quite one."""
    images, train = units(30, 16, 29), units(200, 16, 30)
    lengths = np.random.default_rng(31).uniform(0.992, 1.008, size=(200, 1)).astype(np.float32)
    assert stored(images, train * lengths).status == 0
    with np.load(stored.path) as archive:
        np.testing.assert_array_equal(archive["topk_train_indices"], plain(images, train))


def test_neighbours_are_found_again_for_other_embeddings(stored):
    """They are found again for other images, other training images or other classes, and only then."""
    images, train, classes = units(30, 16, 16), units(200, 16, 17), np.arange(200, dtype=np.int16)
    assert "wrote" in stored(images, train).stderr
    stamp = stored.path.stat().st_mtime_ns
    assert "kept" in stored(images, train).stderr
    assert stored.path.stat().st_mtime_ns == stamp
    images, last = images[::-1].copy(), train[::-1].copy()
    for changed in ((images, train, None), (images, last, None), (images, last, classes)):
        assert "wrote" in stored(*changed[:2], targets=changed[2]).stderr
        with np.load(stored.path) as archive:
            np.testing.assert_array_equal(archive["topk_train_indices"], plain(*changed[:2]))
        assert "kept" in stored(*changed[:2], targets=changed[2]).stderr


def test_embeddings_of_two_clips_are_refused(stored):
    images, train = units(30, 16, 18), units(200, 16, 19)
    assert refused(stored(images, train, image_clip="a", train_clip="b"), "two CLIPs", "is of a", "is of b")
    assert not stored.path.exists()


def test_embeddings_of_two_widths_are_refused(stored, tmp_path):
    """As where official training embeddings meet images that another CLIP embedded; neither file has to say which."""
    path = tmp_path / "train_clip_embeddings.npz"
    assert stored(units(3, 16, 20), units(60, 16, 20)).status == 0
    np.savez(path, train_files=[f"{i}" for i in range(60)], embeddings=units(60, 24, 21), targets=np.arange(60))
    stored.path.unlink()
    assert refused(stored.again(), path, "24", "16")


def test_too_few_training_images_are_refused(stored):
    assert refused(stored(units(3, 16, 22), units(49, 16, 23)), "49 training images for 50 neighbours")


@pytest.mark.parametrize("memory_gb", ["0", "-1", "nan"])
def test_sizes_of_memory_that_are_not_positive_are_refused(stored, memory_gb):
    assert refused(stored(units(3, 16, 24), units(60, 16, 25), "--memory_gb", memory_gb), "--memory_gb")


def test_infinite_memory_ends_in_no_traceback(stored):
    assert stored(units(3, 16, 24), units(60, 16, 25), "--memory_gb", "inf").status in (0, 2)


def test_neighbours_without_embeddings_are_refused(call, tmp_path):
    done = call("compute_clip_embeddings", "--artefacts_dir", tmp_path, "--what", "neighbours")
    assert refused(done, tmp_path / "imagenet" / "clip_image_embeddings.npz", "run compute_clip_embeddings.py")


def test_damaged_neighbours_are_made_again(stored):
    """The message about them says to run the script again: that must help."""
    images, train = units(30, 16, 26), units(200, 16, 27)
    stored(images, train)
    whole = stored.path.read_bytes()
    stored.path.write_bytes(whole[:300])
    assert "wrote" in stored(images, train).stderr
    assert stored.path.read_bytes() == whole
