"""The recipes of docs/clusters.md: settings as the tests use them, and a manifest that Kubernetes takes."""

import re
from pathlib import Path

import pytest
import yaml

from tests.conftest import ROOT
from tests.helpers.dask_cluster import SETTINGS

TEXT = (ROOT / "docs" / "clusters.md").read_text()


@pytest.fixture
def manifest():
    (block,) = re.findall(r"^    apiVersion: .*?(?=^\S)", TEXT, re.DOTALL | re.MULTILINE)
    return yaml.safe_load(block)


def test_settings_are_those_that_the_tests_run_with(manifest):
    expected = {name: value for name, value in SETTINGS.items() if name.startswith("DASK_")}
    assert dict(re.findall(r"export (DASK_\w+)=(\S+)", TEXT)) == expected
    for role in ("scheduler", "worker"):
        (container,) = manifest["spec"][role]["spec"]["containers"]
        given = {entry["name"]: entry["value"] for entry in container["env"]}
        assert {name: value for name, value in given.items() if name.startswith("DASK_")} == expected


def test_manifest_is_valid_for_the_dask_operator(manifest):
    operator = pytest.importorskip("dask_kubernetes", reason="pip install dask-kubernetes, kubernetes-validate")
    validate = pytest.importorskip("kubernetes_validate", reason="pip install kubernetes-validate").validate
    import jsonschema
    from dask_kubernetes.operator.controller import controller

    folder = Path(operator.__file__).parent / "operator" / "deployment" / "helm" / "dask-kubernetes-operator" / "crds"
    (version,) = yaml.safe_load((folder / "daskcluster.yaml").read_text())["spec"]["versions"]
    jsonschema.validate(manifest, version["schema"]["openAPIV3Schema"])
    name, spec = manifest["metadata"]["name"], manifest["spec"]
    scheduler, worker = (spec[role]["spec"] for role in ("scheduler", "worker"))
    for made in (
        controller.build_scheduler_deployment_spec(name, scheduler, {}, {}),
        controller.build_scheduler_service_spec(name, spec["scheduler"]["service"], {}, {}),
        controller.build_worker_deployment_spec("workers", "default", name, "0123456789", worker, {}, {}),
    ):
        validate(made, "1.35", strict=True)
