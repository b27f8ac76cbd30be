"""The tables of models, what names tell of weights, and how models are chosen."""

import csv
import re
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import timm
from hypothesis import given
from hypothesis import strategies as st

from imagenet_errors import files, paths
from imagenet_errors.errors import InputError
from imagenet_errors.inference import timm_models
from imagenet_errors.maintenance import model_tables
from imagenet_errors.models import own_models, registry
from imagenet_errors.models.architectures import Architecture, read_architectures
from imagenet_errors.models.model_table import COLUMNS, ModelRecord, load_records
from imagenet_errors.models.timm_names import Rules
from imagenet_errors.paths import ARCHS, MODELS, MODELS_BEYOND, WEIGHT_FILES, WEIGHT_TAGS, Artefacts
from tests.conftest import COMMITTED, refused

PAPER = load_records(COMMITTED, MODELS)
BEYOND = load_records(COMMITTED, MODELS_BEYOND)
OF_TIMM = [record for record in PAPER if record.source == "timm"]
RULES = Rules.load(COMMITTED, PAPER)
CORPORA = {
    *("ImageNet-1k (1.2M)", "ImageNet-21k (14M)", "Merged (30M)", "Merged (38M)", "Flickr YFCC (90M)", "JFT (300M)"),
    *("WIT (400M)", "LAION-400M (400M)", "Instagram (940M)", "RandomInternetImages (2B)", "LAION-2B (2.3B)"),
    "Instagram (3.6B)",
}
LEARNING = {f"{kind} Learning" for kind in ("Semi-Supervised", "Self-Supervised")}
EXTRA = LEARNING | {"Distillation", "Adversarial Training", "CLIP Training"}
FAMILIES = {"cnn", "transformer", "mlp", "hybrid"}
MODULES = {f"timm_misc_{kind}" for kind in ("cnn", "hybrid", "mlp", "transformer_dist", "transformer")} | {
    *("beit", "bit", "convnext", "deit", "efficientnet", "eva", "metaformer", "regnet", "resnet", "ssl_swsl_wsl"),
    *("swin", "torchvision_misc", "vit", "xcit"),
}


ALL_TABLES = ("--list_models", "--model", "lite0", "timm/vit_base_patch16_224.augreg_in21k")  # flags that read them all


def rows_of(path) -> list[dict[str, str]]:
    with open(path, newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def choose(modules, names):
    return registry.choose(COMMITTED, modules, names, timm_models.find_architecture)


def ids(records) -> list[str]:
    return [record.model_id for record in records]


@pytest.fixture(scope="module")
def published(shared):
    return rows_of(shared / "published" / "models.csv")


class TestTables:
    """models.csv is the paper's; models_beyond.csv is what timm has beyond it."""

    def test_rows_equal_the_published_ones(self, published):
        archs = {row.pop("arch"): row for row in rows_of(COMMITTED.root / ARCHS)}
        ours = []
        for row in rows_of(COMMITTED.root / MODELS):
            row |= archs[row["arch"]] | {"model_dir_id": row.pop("model_id").replace("/", "--")}
            ours.append(row | ({"weights": ""} if row["source"] == "torch.hub" else {}))
        assert len(ours) == 962
        assert ours == published
        assert set(archs) == {row["arch"] for row in published}
        for record, row in zip(PAPER, published, strict=True):
            assert record.arch_family == row["arch_family"]
            assert "; ".join(record.extra_annotations) == row["extra_annotations"]
            assert (record.dir_id, str(record.num_params)) == (row["model_dir_id"], row["num_params"])

    def test_folders_are_unique_and_modules_and_corpora_known(self):
        assert max(Counter(record.dir_id for record in PAPER + BEYOND).values()) == 1
        assert {record.module for record in PAPER} == MODULES
        assert {record.module for record in BEYOND} == {"efficientnet_lite", "timm_new"}
        assert {record.training_data for record in PAPER} == CORPORA
        assert {record.training_data for record in BEYOND} <= CORPORA | {"unknown"}
        assert {record.arch_family for record in PAPER} == FAMILIES
        assert {extra for record in PAPER + BEYOND for extra in record.extra_annotations} == EXTRA

    def test_hub_entries_have_their_own_weights(self):
        """The 48d network alone is in no registry; torch.hub fetches it."""
        kinds = {"ssl": "/semi_supervised_", "swsl": "/semi_weakly_supervised_", "wsl": "/ig_"}
        hub = [record for record in PAPER if record.source == "torch.hub"]
        for record in hub:
            network, _, kind = record.builder.partition(":")[2].rpartition("_")
            assert record.weights == "" or f"{kinds[kind]}{network.removesuffix('d')}-" in record.weights
        assert [record.name for record in hub if not record.weights] == ["resnext101_32x48d_wsl"]
        assert len({record.weights for record in hub}) == 16

    def test_all_weights_of_timm_are_in_the_tables_once(self):
        pretrained = timm.list_models(pretrained=True)
        offered = [name for name in pretrained if timm.get_pretrained_cfg(name).num_classes == 1000]
        ours = [record.builder for record in PAPER + BEYOND if record.source == "timm"]
        assert sorted(ours) == sorted(offered)

    def test_metadata_beyond_the_paper_follow_from_names(self):
        new = [record for record in BEYOND if record.module == "timm_new"]
        assert timm_models.find_new_weights(COMMITTED, PAPER) == [replace(record, num_params=None) for record in new]
        assert all(record.num_params > 0 for record in new)

    def test_models_of_a_newer_timm_are_found_by_name(self, call, tmp_path):
        """A table that lacks some weights stands for a timm that has more."""
        lost = [record for record in BEYOND if record.name.startswith("mobilenetv4_conv")]
        kept = [record.to_row() for record in BEYOND if record not in lost]
        files.write_csv(tmp_path / MODELS_BEYOND, COLUMNS, kept)
        artefacts = Artefacts(tmp_path)
        found = timm_models.find_new_weights(artefacts, load_records(artefacts))
        assert found == [replace(record, num_params=None) for record in lost]
        listed = call("collect_predictions", "--artefacts_dir", tmp_path, "--list_models", "--model", lost[0].model_id)
        assert listed.stdout.splitlines()[1].split() == [lost[0].model_id, "–", *lost[0].training_data.split(), "–"]

    def test_rows_that_cannot_be_built_are_refused(self, published):
        assert model_tables.make_paper_rows(published) == rows_of(COMMITTED.root / MODELS)
        broken = next(row for row in published if row["source"] == "timm") | {"builder": "resnet50.gone"}
        with pytest.raises(InputError, match=f"{broken['model_dir_id']} cannot be built: .*resnet50.gone"):
            model_tables.make_paper_rows([broken])

    @pytest.mark.heavy
    def test_committed_tables_are_made_again(self, call, shared, tmp_path):
        (tmp_path / "published").mkdir()
        shutil.copyfile(shared / "published" / "models.csv", tmp_path / "published" / "models.csv")
        done = call("make_artefacts", "--what", "models", "--artefacts_dir", tmp_path)
        assert done.status == 0, done.stderr
        for name in (ARCHS, MODELS, MODELS_BEYOND, WEIGHT_FILES):
            assert (tmp_path / name).read_bytes() == (COMMITTED.root / name).read_bytes()


class TestNames:
    """What the name of a weight tells."""

    def test_training_read_from_names_is_that_of_the_paper(self):
        wrong = {}
        for record in OF_TIMM:
            told = RULES.describe(record.builder, record.module)
            assert set(told.extra_annotations) == set(record.extra_annotations), record.model_id
            if told.training_data != record.training_data:
                wrong[record.name] = told.training_data
        assert wrong == {
            "eva_giant_patch14_224.clip_ft_in1k": "unknown",
            "eva_giant_patch14_336.clip_ft_in1k": "unknown",
            "resnetv2_50x1_bit.goog_distilled_in1k": "ImageNet-1k (1.2M)",
        }

    def test_unseen_architectures_are_recognised_or_keep_their_name(self):
        """Leaving out one at a time: it keeps its own name, or is found, as 561 of 640 are."""
        truth = {record.builder.partition(".")[0]: record.arch for record in OF_TIMM}
        told = {}
        for left_out in truth:
            others = [r for r in PAPER if r.builder.rpartition(":")[2].partition(".")[0] != left_out]
            told[left_out] = Rules.load(COMMITTED, others).find_arch(left_out)
        wrong = {name for name in truth if told[name] not in (truth[name], name)}
        assert wrong == {"inception_resnet_v2"}
        assert sum(told[name] == truth[name] for name in truth) == 561

    @pytest.mark.parametrize(
        ("name", "corpus", "extra"),
        [
            ("convnext_base.fb_in22k_ft_in1k", "ImageNet-21k (14M)", []),
            ("resnetaa50d.sw_in12k_ft_in1k", "ImageNet-21k (14M)", []),
            ("vit_b.laion2b_ft_in12k_in1k", "LAION-2B (2.3B)", ["CLIP Training"]),
            ("tf_efficientnet_b0.ns_jft_in1k", "JFT (300M)", ["Semi-Supervised Learning"]),
            ("tf_efficientnet_b0.ap_in1k", "ImageNet-1k (1.2M)", ["Adversarial Training"]),
            ("beit_base_patch16_224.in22k_ft_in22k_in1k", "ImageNet-21k (14M)", ["Self-Supervised Learning"]),
            ("efficientnet_b1_pruned.in1k", "ImageNet-1k (1.2M)", ["Distillation"]),
            ("vit_so400m_patch14_siglip_378.webli_ft_in1k", "unknown", []),
            ("convnext_base.clip_laiona_augreg_ft_in1k_384", "unknown", ["CLIP Training"]),
            ("beit3_base_patch16_224.indomain_in22k_ft_in1k", "unknown", ["Self-Supervised Learning"]),
            ("nextvit_base.bd_ssld_6m_in1k", "unknown", ["Distillation"]),
            ("resmlp_12_224.fb_dino", "unknown", ["Self-Supervised Learning"]),
            ("resnet50", "unknown", []),
            ("resnet50.nsx_xin1k", "unknown", []),
            ("swinv2_cr_small_ns_224.sw_in1k", "ImageNet-1k (1.2M)", []),
            ("resnet50_in21k_ssl", "unknown", []),
        ],
    )
    def test_tags_give_corpus_and_extra_annotations(self, name, corpus, extra):
        told = RULES.describe(name, "m")
        assert (told.training_data, list(told.extra_annotations)) == (corpus, extra)
        assert (told.model_id, told.module, told.source, told.builder) == (f"timm/{name}", "m", "timm", name)

    @pytest.mark.parametrize(
        ("name", "arch", "family"),
        [
            ("mobilenetv4_conv_large.e600_r384_in1k", "mobilenet", "cnn"),
            ("mobilenetv4_hybrid_large.e600_r384_in1k", "mobilenetv4_hybrid_large", "unknown"),
            ("vit_so400m_patch14_siglip_378.webli_ft_in1k", "vit", "transformer"),
            ("efficientvit_b1.r224_in1k", "efficientvit_b1", "unknown"),
        ],
    )
    def test_unknown_architectures_have_no_family(self, name, arch, family):
        told = RULES.describe(name, "m")
        assert (told.arch, told.arch_family) == (arch, family)

    words = st.sampled_from([row["token"] for row in RULES.tokens] + ["resnet50", "ns", "", "v2", "384"]) | st.text()

    @given(st.text() | st.lists(words).map("_".join) | st.lists(st.lists(words).map("_".join)).map(".".join))
    def test_any_name_gives_a_valid_record(self, name):
        told = RULES.describe(name, "m")
        assert told.training_data in CORPORA | {"unknown"}
        assert set(told.extra_annotations) <= EXTRA
        assert list(told.extra_annotations) == sorted(set(told.extra_annotations))
        assert told.arch_family in FAMILIES | {"unknown"}
        assert (told.arch_family == "unknown") == (told.arch not in RULES.archs)


class TestChoice:
    """`--modules` and `--model`."""

    @pytest.mark.parametrize(
        ("names", "expected"),
        [
            (["resnet50.a2_in1k", "timm/resnet50.a1_in1k"], ["timm/resnet50.a1_in1k", "timm/resnet50.a2_in1k"]),
            (["timm--resnet50.a1_in1k", "lite1"], ["timm/resnet50.a1_in1k", "efficientnet_lite/lite1"]),
            (["timm/resnet50", "resnet50.a1_in1k", "timm/resnet50"], ["timm/resnet50.a1_in1k"]),
            (["lite?", "lite0", "*lite2"], [f"efficientnet_lite/lite{i}" for i in range(3)]),
            (["timm/efficientnet_b0_gn"], ["timm/efficientnet_b0_gn.untrained"]),
            (None, [f"efficientnet_lite/lite{i}" for i in range(3)]),
        ],
    )
    def test_names_choose_their_models(self, names, expected):
        assert ids(choose(["efficientnet_lite"], names)) == expected

    def test_wildcards_are_bounded_by_modules(self):
        matching = [record for record in PAPER + BEYOND if record.model_id.startswith("timm/resnet50.")]
        papers = sorted(MODULES)
        for modules, of in (
            *((modules, modules) for modules in (["resnet"], ["vit", "timm_new"], ["resnet", "timm_new"])),
            (["all"], papers),
            (["everything"], [*papers, "timm_new", "efficientnet_lite"]),
        ):
            expected = ids(record for record in matching if record.module in of)
            assert expected
            assert ids(choose(modules, ["timm/resnet50.*"])) == expected

    def test_all_models_are_those_of_the_paper(self):
        assert choose(["all"], None) == PAPER
        assert choose(["all", "timm_new", "efficientnet_lite"], None) == choose(["everything"], None) == PAPER + BEYOND

    def test_models_of_timm_outside_the_tables_are_found(self):
        (record,) = choose(["vit"], ["timm/resnet50"])
        assert record == next(one for one in PAPER if one.model_id == "timm/resnet50.a1_in1k")
        name = "vit_base_patch16_224.augreg_in21k"
        assert choose(["resnet"], [f"timm/{name}"]) == [RULES.describe(name, "timm_new")]

    def test_file_of_names_stands_for_its_names(self, tmp_path):
        path = tmp_path / "names.txt"
        path.write_text("# the first two\n\nlite1   # the middle one\n  lite0\r\n#lite2\nlite1\ntimm/resnet50\n")
        found = choose(["resnet"], [str(path), "timm/resnet50.a2_in1k"])
        lites = [f"efficientnet_lite/lite{i}" for i in range(2)]
        assert sorted(ids(found)) == [*lites, "timm/resnet50.a1_in1k", "timm/resnet50.a2_in1k"]
        for empty in ("", "\n  \n# resnet50.a1_in1k\n"):
            path.write_text(empty)
            with pytest.raises(InputError, match="names no model: write one name a line"):
                choose(["resnet"], ["lite0", str(path)])

    @pytest.mark.parametrize(
        ("modules", "name", "message"),
        [
            (["all"], "timm/resnet50.a1_in1", "'timm/resnet50.a1_in1', did you mean 'timm/resnet50.a1_in1k'?"),
            (["all"], "resnet50.a1_in1", "unknown model 'resnet50.a1_in1', did you mean 'resnet50.a1_in1k'"),
            (["all"], "me/resnet50", "unknown model 'me/resnet50', did you mean"),
            (["all"], "timm/resnet50.", "unknown model 'timm/resnet50.', did you mean"),
            (["vit", "resnett"], None, "unknown module 'resnett', did you mean 'resnet'"),
            (["vit"], "timm/resnet50.*", "no model of --modules vit matches 'timm/resnet50.*', but some of resnet, "),
        ],
    )
    def test_unknown_names_are_refused_with_the_closest(self, modules, name, message):
        with pytest.raises(InputError) as refusal:
            choose(modules, name and [name])
        assert message in str(refusal.value)

    def test_functions_of_the_user_are_chosen(self, tmp_path):
        with pytest.raises(InputError, match=r"gone.py is missing: --model takes path/to/file.py:function"):
            choose(["all"], [f"{tmp_path}/gone.py:build"])
        paths = [tmp_path / "net.py", tmp_path / "b" / "net.py"]
        paths[1].parent.mkdir()
        for path in paths:
            path.touch()
        (record,) = choose(["vit"], [f"{paths[0]}:build", f"{paths[0]}:build"])
        assert record == ModelRecord("own/net.build", "own", "function", f"{paths[0]}:build")
        with pytest.raises(InputError, match=r"would be named own/net.build, like another model"):
            choose(["all"], [f"{path}:build" for path in paths])


class TestRecords:
    """Rows of a table as records."""

    cells = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.sampled_from(' ,"'))
    extras = st.lists(st.text("abc -,", min_size=1).filter(lambda text: text.strip()), max_size=3).map(tuple)

    @given(
        st.builds(
            ModelRecord,
            *[cells] * 5,
            arch=st.sampled_from(["resnet", "my net", "unknown"]),
            training_data=cells,
            extra_annotations=extras,
            num_params=st.none() | st.integers(0, 10**12),
        )
    )
    def test_records_survive_writing_and_reading(self, tmp_path_factory, record):
        path = tmp_path_factory.getbasetemp() / "round_trip.csv"
        files.write_csv(path, COLUMNS, [record.to_row()])
        archs = {"resnet": Architecture("ResNet", "cnn")}
        (row,) = files.read_csv(path, COLUMNS)
        assert ModelRecord.from_row(row, archs) == replace(
            record, arch_family=archs.get(record.arch, Architecture()).family
        )

    @pytest.mark.parametrize("name", [MODELS, MODELS_BEYOND, ARCHS, WEIGHT_TAGS, WEIGHT_FILES])
    @pytest.mark.parametrize(
        ("old", "new"), [(r"\A(.*),(\w+)\n", r"\1\n"), (r"\A(.*\n.*),.*\n", r"\1\n"), (r"\A(.*\n)*", "")]
    )
    def test_damaged_table_is_refused(self, call, tmp_path, name, old, new):
        """A column less, a cell less, nothing at all."""
        (tmp_path / name).write_text(re.sub(old, new, (COMMITTED.root / name).read_text()))
        outcome = call("collect_predictions", "--artefacts_dir", tmp_path, *ALL_TABLES)
        assert refused(outcome, tmp_path / name, "restore it from the repository")

    def test_malformed_number_is_refused(self, call, tmp_path):
        (tmp_path / MODELS).write_text((COMMITTED.root / MODELS).read_text().replace("88591464", "88.6M", 1))
        for script, flag in (("collect_predictions", "--list_models"), ("list_latex", "--models_summary_latex")):
            outcome = call(script, "--artefacts_dir", tmp_path, flag)
            assert refused(outcome, tmp_path / MODELS, "88.6M", "restore it from the repository")

    @pytest.mark.parametrize("name", [MODELS, MODELS_BEYOND, ARCHS, WEIGHT_TAGS, WEIGHT_FILES])
    def test_missing_table_is_refused(self, call, tmp_path, monkeypatch, name):
        shutil.copytree(COMMITTED.root, tmp_path / "artefacts")
        (tmp_path / "artefacts" / name).unlink()
        monkeypatch.setattr(paths, "REPOSITORY", tmp_path)
        assert refused(call("collect_predictions", "--artefacts_dir", tmp_path, *ALL_TABLES), name, "is missing")


class TestOwn:
    """What the user says of a model of their own."""

    FUNCTION = ModelRecord("own/net.build", "own", "function", "net.py:build")
    RESNET = RULES.describe("resnet50.a1_in1k", "resnet")

    def describe(self, *records, **flags):
        flags = dict.fromkeys(("checkpoint", "model_name", "arch", "training_data")) | flags
        return own_models.describe(
            list(records), read_architectures(COMMITTED), {record.dir_id for record in PAPER}, **flags
        )

    def test_flags_describe_the_user_s_model(self, tmp_path):
        assert self.describe(self.RESNET, self.FUNCTION) == [self.RESNET, self.FUNCTION]
        said = {"arch": "vit", "training_data": "Mine (3)"}
        (record,) = self.describe(self.FUNCTION, model_name="me/mine", **said)
        assert record == replace(self.FUNCTION, model_id="me/mine", arch_family="transformer", **said)
        (record,) = self.describe(self.FUNCTION, arch="my net")
        assert (record.arch, record.arch_family, record.training_data) == ("my net", "unknown", "unknown")
        path = tmp_path / "fine.pth"
        path.touch()
        distilled = RULES.describe("deit_base_distilled_patch16_224.fb_in1k", "deit")
        (record,) = self.describe(replace(distilled, num_params=7), checkpoint=path)
        expected = ("own/fine", "own", "checkpoint", distilled.builder, str(path), "deit", "transformer")
        assert record == ModelRecord(*expected)

    @pytest.mark.parametrize(
        ("records", "flags", "message"),
        [
            ([FUNCTION, RESNET], {"arch": "vit"}, "are for one model, and --model names 2"),
            ([FUNCTION], {"checkpoint": "names.py"}, "--checkpoint is for a timm architecture"),
            ([RESNET], {"checkpoint": "gone.pth"}, "gone.pth is missing: --checkpoint takes"),
            ([RESNET], {"arch": "vit"}, "timm/resnet50.a1_in1k is not a model of your own"),
            ([FUNCTION], {"arch": "a\nb"}, "--arch 'a\\nb' is not one line of printable text"),
            ([FUNCTION], {"training_data": " "}, "--training_data ' ' is not one line of printable text"),
            ([FUNCTION], {"model_name": "a\x1bb"}, "is not one line of printable text"),
            ([FUNCTION], {"arch": ""}, "--arch '' is not one line of printable text"),
            ([FUNCTION], {"model_name": ".."}, "'..' cannot be the name of a folder"),
            ([FUNCTION], {"model_name": "a\\b"}, "cannot be the name of a folder"),
            ([FUNCTION], {"model_name": "x" * 201}, "cannot be the name of a folder"),
            ([FUNCTION], {"model_name": "ä" * 150}, "cannot be the name of a folder"),
            ([FUNCTION], {"model_name": "timm/resnet50.a1_in1k"}, "timm/resnet50.a1_in1k is another model's name"),
        ],
    )
    def test_flags_that_fit_no_model_are_refused(self, records, flags, message):
        flags = {name: Path(text) if name == "checkpoint" else text for name, text in flags.items()}
        with pytest.raises(InputError) as refusal:
            self.describe(*records, **flags)
        assert message in str(refusal.value)
