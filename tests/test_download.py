"""Downloads from a misbehaving server on this machine, and the records of downloaded weights."""

import csv
import hashlib

import pytest
import timm
import torch

from imagenet_errors.download import DownloadError, RetryPolicy, download_file
from imagenet_errors.errors import ModelError
from imagenet_errors.inference import prefetch, weights, zoo
from imagenet_errors.models.model_table import ModelRecord
from imagenet_errors.paths import Artefacts
from tests.conftest import run_script
from tests.helpers import saved_models
from tests.helpers.http_server import CONTENT

pytest_plugins = ("tests.helpers.saved_models", "tests.helpers.http_server")
SHA256 = hashlib.sha256(CONTENT).hexdigest()
NAME = f"net-{SHA256[:8]}.pth"


@pytest.fixture(autouse=True)
def _nothing_is_remembered_of_servers():
    weights.is_reachable.cache_clear()
    yield
    weights.is_reachable.cache_clear()


class TestFile:
    """One file."""

    @pytest.fixture
    def path(self, tmp_path):
        return tmp_path / "below" / NAME

    @pytest.fixture
    def fetch(self, server, path):
        retries = RetryPolicy(attempts=1)
        return lambda sha256=SHA256[:8]: download_file(f"{server.url}/{NAME}", path, sha256, retries=retries)

    @pytest.fixture
    def part(self, path):
        path.parent.mkdir()
        return path.with_name(f"{NAME}.part")

    def test_file_is_downloaded(self, fetch, path, server):
        fetch()
        assert path.read_bytes() == CONTENT
        assert server.asked == [None]
        assert list(path.parent.iterdir()) == [path]

    def test_interrupted_download_resumes(self, fetch, path, part, server):
        for end in (70_000, 180_000):
            server.breaks_at = end
            with pytest.raises(DownloadError, match=f"broke off after {end:,} of {len(CONTENT):,} bytes"):
                fetch()
            assert not path.exists()
            assert part.read_bytes() == CONTENT[:end]
        fetch()
        assert path.read_bytes() == CONTENT
        assert server.asked == [None, "bytes=70000-", "bytes=180000-"]

    def test_interrupted_download_of_unknown_size_is_an_error(self, fetch, path, server):
        server.breaks_at, server.chunked = 100_000, True
        with pytest.raises(DownloadError, match=r"\w"):
            fetch()
        assert not path.exists()
        fetch()
        assert path.read_bytes() == CONTENT

    def test_server_without_ranges_sends_the_whole_file_again(self, fetch, path, part, server):
        server.knows_ranges = False
        part.write_bytes(CONTENT[:5000])
        fetch()
        assert server.asked == ["bytes=5000-"]
        assert path.read_bytes() == CONTENT

    def test_complete_part_is_not_downloaded_again(self, fetch, path, part, server):
        part.write_bytes(CONTENT)
        fetch()
        assert path.read_bytes() == CONTENT
        assert server.asked == [f"bytes={len(CONTENT)}-"]
        assert not part.exists()

    @pytest.mark.parametrize(("surplus", "tells_size"), [(7, True), (7, False), (0, False)])
    def test_overlong_part_is_discarded(self, fetch, path, part, server, surplus, tells_size):
        server.tells_size = tells_size
        part.write_bytes(CONTENT + bytes(surplus))
        fetch()
        assert path.read_bytes() == CONTENT
        assert server.asked == [f"bytes={len(CONTENT) + surplus}-", None]

    def test_wrong_bytes_are_discarded(self, fetch, path, part, server):
        server.content = CONTENT[:-1] + b"x"
        with pytest.raises(DownloadError, match=f"does not have the sha256 {SHA256[:8]}"):
            fetch()
        assert not list(path.parent.iterdir())
        server.content = CONTENT
        fetch()
        assert path.read_bytes() == CONTENT

    def test_wrong_beginning_is_downloaded_again(self, fetch, path, part, server):
        part.write_bytes(b"x" * 5000)
        fetch()
        assert path.read_bytes() == CONTENT
        assert server.asked == ["bytes=5000-", None]

    def test_wrong_bytes_do_not_replace_the_existing_file(self, fetch, path, part, server):
        path.write_bytes(b"earlier")
        server.content = b"wrong"
        with pytest.raises(DownloadError, match="sha256"):
            fetch()
        assert path.read_bytes() == b"earlier"

    @pytest.mark.parametrize("status", [404, 500, 503])
    def test_part_survives_a_server_error(self, fetch, path, part, server, status):
        part.write_bytes(CONTENT[:5000])
        server.status = status
        with pytest.raises(DownloadError, match=str(status)):
            fetch()
        assert part.read_bytes() == CONTENT[:5000]
        assert not path.exists()
        server.status = None
        fetch()
        assert path.read_bytes() == CONTENT
        assert server.asked[-1] == "bytes=5000-"

    def test_part_of_unknown_version_is_discarded_if_no_hash_is_known(self, fetch, path, part, server):
        part.write_bytes(b"of another version")
        fetch(sha256="")
        assert server.asked == [None]
        assert path.read_bytes() == CONTENT

    def test_empty_part_is_requested_without_a_range(self, fetch, path, part, server):
        part.touch()
        fetch()
        assert server.asked == [None]
        assert path.read_bytes() == CONTENT


class TestModels:
    """All weights of models, and weights.csv."""

    @pytest.fixture(autouse=True)
    def allowed(self, caches, monkeypatch):
        """Downloads, beside the code of a repository."""
        code = caches / "torch" / "hub" / "me_nets_main"
        code.mkdir(parents=True)
        (code / "hubconf.py").touch()
        monkeypatch.delenv("HF_HUB_OFFLINE")

    @pytest.fixture
    def record(self, server):
        return self.of("me/net", f"{server.url}/{NAME}")

    @staticmethod
    def of(model_id, url):
        return ModelRecord(model_id, "mine", "torch.hub", "me/nets:net", url)

    @pytest.fixture
    def fetch(self, tmp_path):
        """Returns the failures."""

        return lambda *records: prefetch.download_weights(list(records), Artefacts(tmp_path))

    @pytest.fixture
    def recorded(self, tmp_path):
        def read():
            with open(tmp_path / "weights.csv", newline="") as file:
                return list(csv.DictReader(file))

        return read

    @staticmethod
    def row(model_id):
        return {
            "model_id": model_id,
            "file": NAME,
            "revision": "",
            "sha256": SHA256,
            "bytes": str(len(CONTENT)),
        }

    def test_rows_describe_the_downloaded_files(self, fetch, record, recorded, tmp_path, server):
        model = saved_models.randomised(timm.create_model("test_vit"))
        path = saved_models.put_timm_on_hub(tmp_path, "test_vit.r160_in1k", model)
        vit = ModelRecord("timm/test_vit.r160_in1k", "timm_new", "timm", "test_vit.r160_in1k")
        assert fetch(record, vit) == {}
        content = path.read_bytes()
        assert recorded() == [
            self.row("me/net"),
            {
                "model_id": "timm/test_vit.r160_in1k",
                "file": "model.safetensors",
                "revision": saved_models.REVISION,
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": str(len(content)),
            },
        ]
        assert (tmp_path / "torch" / "hub" / "checkpoints" / NAME).read_bytes() == CONTENT

    def test_file_is_hashed_once(self, fetch, record, recorded, monkeypatch, tmp_path):
        hashed, file_sha256 = [], prefetch.file_sha256
        monkeypatch.setattr(prefetch, "file_sha256", lambda path: hashed.append(path.name) or file_sha256(path))
        fetch(record)
        fetch(record)
        assert hashed == [NAME]
        assert recorded() == [self.row("me/net")]
        (tmp_path / "torch" / "hub" / "checkpoints" / NAME).write_bytes(b"new")
        fetch(record)
        assert hashed == [NAME, NAME]
        assert recorded()[0]["sha256"] == hashlib.sha256(b"new").hexdigest()

    def test_other_models_are_downloaded_after_a_failure(self, fetch, record, recorded, server, caplog):
        caplog.set_level("INFO")
        lost = self.of("me/lost", f"{server.url}/lost-00000000.pth")
        failures = fetch(lost, record)
        assert failures.keys() == {"me/lost"}
        assert "cannot be downloaded (DownloadError: " in failures["me/lost"]
        assert caplog.messages == [f"me/lost: not downloaded, {failures['me/lost']}"]
        assert recorded() == [self.row("me/net")]

    def test_interrupted_run_records_what_it_downloaded(self, fetch, record, recorded, server, monkeypatch):
        def interrupted(records, _):
            yield records[0]
            raise KeyboardInterrupt

        monkeypatch.setattr(prefetch, "show_progress", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(record, self.of("me/other", f"{server.url}/{NAME}"))
        assert recorded() == [self.row("me/net")]

    def test_rows_of_other_models_are_kept(self, fetch, record, recorded, server):
        fetch(record)
        fetch(self.of("me/other", f"{server.url}/{NAME}"))
        assert recorded() == [self.row("me/net"), self.row("me/other")]

    def test_revision_is_read_from_the_cache_of_the_hub_only(self, tmp_path):
        inside = tmp_path / "snapshots" / "hub" / "models--a--b" / "snapshots" / "0a1b" / "model.safetensors"
        assert weights.revision(inside) == "0a1b"
        assert weights.revision(tmp_path / "snapshots" / "torch" / "hub" / "checkpoints" / NAME) == ""

    def test_server_is_checked_once_for_all_files(self, fetch, server):
        records = [self.of(f"me/{number}", f"{server.url}/{number}.pth") for number in range(3)]
        assert fetch(*records) == {}
        assert (server.heads, len(server.asked)) == (1, 3)

    def test_server_without_a_front_page_is_reachable(self, fetch, record, server):
        server.files = {"": None, "/": None}
        assert fetch(record) == {}

    def test_unreachable_server_is_reported(self, fetch, record, server):
        server.shutdown()
        server.server_close()
        reason = f"{record.weights} is not in the local cache, and {server.url} does not answer: connect, or copy it"
        assert fetch(record) == {"me/net": reason}

    def test_offline_mode_forbids_downloads(self, fetch, record, server, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
            weights.fetch([weights.UrlFile(record.weights)])
        assert fetch(record).keys() == {"me/net"}
        assert (server.heads, server.asked) == (0, [])

    @pytest.mark.heavy
    def test_pickled_weights_are_downloaded_if_a_hub_repository_has_no_safetensors(self, tmp_path, server, recorded):
        """The real client of the hub, in a process of its own: the pickle is fetched, recorded, and found."""
        state = saved_models.randomised(timm.create_model("test_vit")).state_dict()
        torch.save(state, tmp_path / "w")
        content = (tmp_path / "w").read_bytes()
        resolve = "/timm/test_vit.r160_in1k/resolve/main/"
        server.content, server.files = None, {f"{resolve}pytorch_model.bin": content}
        server.headers = {"ETag": f'"{"a" * 40}"', "X-Repo-Commit": saved_models.REVISION}
        where = saved_models.environment(tmp_path) | {"HF_ENDPOINT": server.url}
        flags = ("--artefacts_dir", tmp_path, "--model", "test_vit.r160_in1k")
        fetched = run_script("collect_predictions", *flags, "--download_only", **where | {"HF_HUB_OFFLINE": "0"})
        assert fetched.returncode == 0, fetched.stderr
        assert recorded() == [
            {
                "model_id": "timm/test_vit.r160_in1k",
                "file": "pytorch_model.bin",
                "revision": saved_models.REVISION,
                "sha256": hashlib.sha256(content).hexdigest(),
                "bytes": str(len(content)),
            }
        ]
        model, _ = zoo.build(ModelRecord("timm/test_vit.r160_in1k", "timm_new", "timm", "test_vit.r160_in1k"))
        assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
