"""Manifests against Kubernetes' published schemas."""

from __future__ import annotations

import json

import pytest

from edgekit_runtime import cli

from .conftest import same_as_golden

IMAGE = "--image=registry.example/edgekit/cats:1"
WAYS = {
    "deployment": [IMAGE, "--port=9000", "--grpc-port=9001", "--max-batch=4", "--memory=256"],
    "coral": [IMAGE, "--device=coral", "--plugin-image=registry.example/device-manager:1"],
    "jetson": [IMAGE, "--device=jetson", "--name=cats"],
}
VERSIONS = ("1.25", "1.28", "1.31", "1.34", "1.37")


def manifests(said: dict) -> list[dict]:
    yaml = pytest.importorskip("yaml", reason="PyYAML is not installed in this environment")
    return [d for text in said["files"].values() for d in yaml.safe_load_all(text)]


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("way", WAYS)
def test_kubernetes_takes_the_manifests(install, bundle, way, version):
    schemas = pytest.importorskip("kubernetes_validate", reason="the schemas are not installed in this environment")
    for manifest in manifests(install("--k8s", bundle, *WAYS[way])):
        schemas.validate(manifest, version, strict=True)
        broken = {**manifest, "spec": {"sepc": 1}, "data": {"x": 1}}
        with pytest.raises(schemas.ValidationError):
            schemas.validate(broken, version, strict=True)


@pytest.mark.parametrize("way", WAYS)
def test_manifests_are_as_they_were(install, bundle, way):
    said = install("--k8s", bundle, *WAYS[way])
    text = "".join(f"# ---- {name}\n{content}" for name, content in said["files"].items())
    same_as_golden(f"k8s-{way}.txt", text + "\n".join(["# ---- then", *said["commands"], *said["notes"], ""]))


def test_a_deployment_is_probed_and_shut_in(install, bundle):
    workload, settings, service = manifests(install("--k8s", bundle, *WAYS["deployment"]))
    assert [m["kind"] for m in (workload, settings, service)] == ["Deployment", "ConfigMap", "Service"]
    pod = workload["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    assert container["readinessProbe"]["httpGet"] == container["startupProbe"]["httpGet"]
    assert container["resources"]["limits"] == {"memory": "256Mi"}
    assert pod["securityContext"]["runAsNonRoot"] and container["securityContext"]["readOnlyRootFilesystem"]
    options = cli.command_line().parse_args(container["args"])
    assert options.grpc_port == container["ports"][1]["containerPort"] == service["spec"]["ports"][1]["port"] == 9001
    assert options.port == container["ports"][0]["containerPort"] == service["spec"]["ports"][0]["port"] == 9000
    mounts = {m["name"]: m["mountPath"] for m in container["volumeMounts"]}
    secret = next(v["secret"] for v in pod["volumes"] if v["name"] == "token")
    assert options.token_file == f"{mounts['token']}/{secret['items'][0]['path']}"
    labels = workload["spec"]["template"]["metadata"]["labels"]
    for selector in (workload["spec"]["selector"]["matchLabels"], service["spec"]["selector"]):
        assert selector.items() <= labels.items()


@pytest.mark.parametrize(("way", "resource"), [("coral", "smarter-devices/apex_0"), ("jetson", "nvidia.com/gpu")])
def test_an_accelerator_is_served_on_every_node_that_has_one(install, bundle, way, resource):
    found = [m for m in manifests(install("--k8s", bundle, *WAYS[way])) if m["kind"] == "DaemonSet"]
    pod = found[-1]["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"][resource] == "1"
    assert pod["nodeSelector"] == {f"edgekit/{way}": "true"}
    assert pod.get("runtimeClassName") == {"jetson": "nvidia"}.get(way)
    assert len(found) == (2 if way == "coral" else 1)


def test_the_token_is_in_no_file(install, bundle, tmp_path):
    (tmp_path / "token").write_text("a-secret-of-some-length")
    said = install("--k8s", bundle, IMAGE, f"--token-file={tmp_path}/token")
    assert "a-secret" not in json.dumps(said)
    assert any(f"--from-file=token={tmp_path}/token" in command for command in said["commands"])


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "no image"),
        (["--image=a b"], "is not the name of an image"),
        (["--image=a\nb: c"], "is not the name of an image"),
        ([IMAGE, "--memory=1"], "is not between"),
        ([IMAGE, "--device=camera"], "one of coral and jetson"),
        ([IMAGE, "--device=coral", "--device=jetson"], "one of coral and jetson"),
        ([IMAGE, "--plugin-image=x"], "is for --device coral"),
        ([IMAGE, "--store=/x"], "is for --systemd"),
        ([IMAGE, "--name=x_y"], "--name"),
    ],
)
def test_what_a_cluster_cannot_have_is_one_sentence(refusal, bundle, arguments, said):
    assert said in refusal("--k8s", bundle, *arguments)
