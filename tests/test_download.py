"""Downloads from a server on this machine that breaks off, lies and refuses; and what is noted of them."""

import csv
import hashlib

import pytest
import timm
import torch

from imagenet_errors.download import DownloadError, RetryPolicy, download
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
        return lambda sha256=SHA256[:8]: download(
            f"{server.url}/{NAME}", path, sha256, patience=RetryPolicy(attempts=1)
        )

    @pytest.fixture
    def part(self, path):
        path.parent.mkdir()
        return path.with_name(f"{NAME}.part")

    def test_a_whole_file_arrives_changed(self, fetch, path, server):
        fetch()
        assert path.read_bytes() == CONTENT
        assert server.asked == [None]
        assert list(path.parent.iterdir()) == [path]

    def test_a_broken_download_passes_for_a_file_or_starts_over(self, fetch, path, part, server):
        for end in (70_000, 180_000):
            server.breaks_at = end
            with pytest.raises(DownloadError, match=f"broke off after {end:,} of {len(CONTENT):,} bytes"):
                fetch()
            assert not path.exists()
            assert part.read_bytes() == CONTENT[:end]
        fetch()
        assert path.read_bytes() == CONTENT
        assert server.asked == [None, "bytes=70000-", "bytes=180000-"]

    def test_a_broken_download_of_unknown_size_raises_what_nobody_catches(self, fetch, path, server):
        server.breaks_at, server.chunked = 100_000, True
        with pytest.raises(DownloadError, match=r"\w"):
            fetch()
        assert not path.exists()
        fetch()
        assert path.read_bytes() == CONTENT

    def test_the_whole_file_is_appended_to_its_beginning(self, fetch, path, part, server):
        """A server without ranges sends everything again."""
        server.knows_ranges = False
        part.write_bytes(CONTENT[:5000])
        fetch()
        assert server.asked == ["bytes=5000-"]
        assert path.read_bytes() == CONTENT

    def test_a_complete_part_is_fetched_again(self, fetch, path, part, server):
        part.write_bytes(CONTENT)
        fetch()
        assert path.read_bytes() == CONTENT
        assert server.asked == [f"bytes={len(CONTENT)}-"]
        assert not part.exists()

    @pytest.mark.parametrize(("surplus", "tells_size"), [(7, True), (7, False), (0, False)])
    def test_an_overlong_part_is_never_got_rid_of(self, fetch, path, part, server, surplus, tells_size):
        server.tells_size = tells_size
        part.write_bytes(CONTENT + bytes(surplus))
        fetch()
        assert path.read_bytes() == CONTENT
        assert server.asked == [f"bytes={len(CONTENT) + surplus}-", None]

    def test_wrong_bytes_are_kept(self, fetch, path, part, server):
        server.content = CONTENT[:-1] + b"x"
        with pytest.raises(DownloadError, match=f"has not the sha256 {SHA256[:8]}"):
            fetch()
        assert not list(path.parent.iterdir())
        server.content = CONTENT
        fetch()
        assert path.read_bytes() == CONTENT

    def test_a_wrong_beginning_spoils_a_right_file(self, fetch, path, part, server):
        part.write_bytes(b"x" * 5000)
        fetch()
        assert path.read_bytes() == CONTENT
        assert server.asked == ["bytes=5000-", None]

    def test_wrong_bytes_replace_the_file_that_is_there(self, fetch, path, part, server):
        path.write_bytes(b"earlier")
        server.content = b"wrong"
        with pytest.raises(DownloadError, match="sha256"):
            fetch()
        assert path.read_bytes() == b"earlier"

    @pytest.mark.parametrize("status", [404, 500, 503])
    def test_what_has_come_is_lost_with_an_error(self, fetch, path, part, server, status):
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

    def test_parts_of_two_files_are_joined_where_no_hash_can_tell(self, fetch, path, part, server):
        part.write_bytes(b"of another version")
        fetch(sha256="")
        assert server.asked == [None]
        assert path.read_bytes() == CONTENT

    def test_an_empty_part_is_asked_for_from_byte_zero(self, fetch, path, part, server):
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
    def noted(self, tmp_path):
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

    def test_a_row_tells_of_another_file(self, fetch, record, noted, tmp_path, server):
        model = saved_models.randomised(timm.create_model("test_vit"))
        path = saved_models.put_timm_on_hub(tmp_path, "test_vit.r160_in1k", model)
        vit = ModelRecord("timm/test_vit.r160_in1k", "timm_new", "timm", "test_vit.r160_in1k")
        assert fetch(record, vit) == {}
        content = path.read_bytes()
        assert noted() == [
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

    def test_a_file_is_hashed_at_every_run(self, fetch, record, noted, monkeypatch, tmp_path):
        hashed, file_sha256 = [], prefetch.file_sha256
        monkeypatch.setattr(prefetch, "file_sha256", lambda path: hashed.append(path.name) or file_sha256(path))
        fetch(record)
        fetch(record)
        assert hashed == [NAME]
        assert noted() == [self.row("me/net")]
        (tmp_path / "torch" / "hub" / "checkpoints" / NAME).write_bytes(b"new")
        fetch(record)
        assert hashed == [NAME, NAME]
        assert noted()[0]["sha256"] == hashlib.sha256(b"new").hexdigest()

    def test_one_failure_stops_the_others(self, fetch, record, noted, server, caplog):
        caplog.set_level("INFO")
        lost = self.of("me/lost", f"{server.url}/lost-00000000.pth")
        failures = fetch(lost, record)
        assert failures.keys() == {"me/lost"}
        assert "cannot be downloaded (DownloadError: " in failures["me/lost"]
        assert caplog.messages == [f"me/lost: not downloaded, {failures['me/lost']}"]
        assert noted() == [self.row("me/net")]

    def test_an_interrupted_run_forgets_what_it_fetched(self, fetch, record, noted, server, monkeypatch):
        def interrupted(records, _):
            yield records[0]
            raise KeyboardInterrupt

        monkeypatch.setattr(prefetch, "show_progress", interrupted)
        with pytest.raises(KeyboardInterrupt):
            fetch(record, self.of("me/other", f"{server.url}/{NAME}"))
        assert noted() == [self.row("me/net")]

    def test_the_notes_of_other_models_are_lost(self, fetch, record, noted, server):
        fetch(record)
        fetch(self.of("me/other", f"{server.url}/{NAME}"))
        assert noted() == [self.row("me/net"), self.row("me/other")]

    def test_a_folder_called_snapshots_passes_for_a_revision(self, tmp_path):
        inside = tmp_path / "snapshots" / "hub" / "models--a--b" / "snapshots" / "0a1b" / "model.safetensors"
        assert weights.revision(inside) == "0a1b"
        assert weights.revision(tmp_path / "snapshots" / "torch" / "hub" / "checkpoints" / NAME) == ""

    def test_a_server_is_asked_for_every_file_whether_it_is_there(self, fetch, server):
        records = [self.of(f"me/{number}", f"{server.url}/{number}.pth") for number in range(3)]
        assert fetch(*records) == {}
        assert (server.heads, len(server.asked)) == (1, 3)

    def test_a_server_without_a_front_page_passes_for_gone(self, fetch, record, server):
        server.files = {"": None, "/": None}
        assert fetch(record) == {}

    def test_a_server_that_is_gone_is_waited_for(self, fetch, record, server):
        server.shutdown()
        server.server_close()
        reason = f"{record.weights} is not in the local cache, and {server.url} does not answer: connect, or copy it"
        assert fetch(record) == {"me/net": reason}

    def test_a_forbidden_download_is_made(self, fetch, record, server, monkeypatch):
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
        with pytest.raises(ModelError, match="HF_HUB_OFFLINE is set"):
            weights.fetch([weights.UrlFile(record.weights)])
        assert fetch(record).keys() == {"me/net"}
        assert (server.heads, server.asked) == (0, [])

    def test_a_hub_repository_without_safetensors_is_given_up(self, tmp_path, server, noted):
        """The real client of the hub, in a process of its own: the pickle is fetched, noted, and found."""
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
        assert noted() == [
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
