"""The admission policy: its expressions, evaluated here as the cluster would, make of a pod what the kustomize component makes of it.

CEL itself is evaluated by cel-python. What Kubernetes adds to it is done by hand: object literals become maps that carry their type's name, which is
held against their place as the cluster does, and the two kinds of patches are applied. That a cluster does the same is unproven.
"""

import copy
import re

import celpy
import kubernetes_validate
import pytest
from test_sidecar import NATIVE, POD, PREPARE, proxy_of, with_proxy, workload
from tools import DEPLOY, breaches, kustomize, validate

TYPE = "type of literal"
KEYS = {"initContainers": "name", "containers": "name", "env": "name", "volumes": "name", "volumeMounts": "mountPath"}


def rendered(kind):
    [document] = [document for document in kustomize(DEPLOY / "kubernetes/injection") if document["kind"] == kind]
    return document


POLICY = rendered("MutatingAdmissionPolicy")["spec"]
BINDING = rendered("MutatingAdmissionPolicyBinding")["spec"]


def test_it_is_valid_from_the_version_that_is_stated():
    for document in kustomize(DEPLOY / "kubernetes/injection"):
        validate(document, "1.36", "1.37")


@pytest.mark.parametrize("version", ["1.34", "1.35"])
def test_it_is_valid_for_the_beta_too(version):
    for kind in ("MutatingAdmissionPolicy", "MutatingAdmissionPolicyBinding"):
        validate({**rendered(kind), "apiVersion": "admissionregistration.k8s.io/v1beta1"}, version)
        with pytest.raises(kubernetes_validate.SchemaNotFoundError):
            validate(rendered(kind), version)


def test_it_takes_pods_that_ask_for_it_in_namespaces_that_do():
    assert POLICY["matchConstraints"]["objectSelector"]["matchLabels"] == {"batch-retry-proxy": "enabled"}
    assert BINDING["matchResources"]["namespaceSelector"]["matchLabels"] == {"batch-retry-proxy-injection": "enabled"}
    [rule] = POLICY["matchConstraints"]["resourceRules"]
    assert (rule["resources"], rule["operations"]) == (["pods"], ["CREATE"])


def test_its_parameters_are_where_it_looks_for_them():
    parameters, namespace = rendered("ConfigMap"), rendered("Namespace")
    reference = BINDING["paramRef"]
    assert (reference["name"], reference["namespace"]) == (parameters["metadata"]["name"], namespace["metadata"]["name"])
    assert parameters["metadata"]["namespace"] == namespace["metadata"]["name"]
    assert rendered("MutatingAdmissionPolicy")["metadata"]["name"] == BINDING["policyName"]


PODS = {
    "short": {"containers": [{"name": "main", "image": "main:1"}]},
    "with volumes and variables": {
        "containers": [POD["containers"][0], {**POD["containers"][1], "env": [{"name": "no_proxy", "value": "theirs"}, PREPARE["env"][0]]}],
        "volumes": POD["volumes"],
    },
    "with init containers": {**POD, "containers": [POD["containers"][0]], "initContainers": [PREPARE, {**PREPARE, "name": "second"}]},
}


@pytest.mark.parametrize("name", PODS)
def test_a_pod_gets_what_the_kustomize_component_gives_it(tmp_path, name):
    made, _ = with_proxy(tmp_path, NATIVE, workload("Pod", PODS[name]))
    wanted = made[0]["spec"]
    # Its settings come from a ConfigMap that every namespace may have or not, as a missing file would be an error.
    proxy = proxy_of(wanted)
    del proxy["env"]
    proxy["envFrom"] = [{"configMapRef": {"name": "batch-retry-proxy-env", "optional": True}}]
    proxy["volumeMounts"] = [mount for mount in proxy["volumeMounts"] if mount["name"] != "batch-retry-proxy-config"]
    wanted["volumes"] = [volume for volume in wanted["volumes"] if volume["name"] != "batch-retry-proxy-config"]
    assert admitted(workload("Pod", PODS[name]))["spec"] == wanted


def test_an_injected_pod_is_valid_and_stays_within_pod_security_restricted():
    pod = admitted(workload("Pod", {**POD, "initContainers": [PREPARE]}))
    validate(pod)
    assert breaches(pod["spec"]) == []


def test_a_pod_that_has_the_proxy_gets_no_second_one(tmp_path):
    for component in (NATIVE, "sidecar-before-1.29"):
        folder = tmp_path / component
        folder.mkdir()
        [pod], _ = with_proxy(folder, component, workload("Pod"))
        assert admitted(pod) == pod
    once = admitted(workload("Pod"))
    assert admitted(once) == once


def test_options_that_a_program_has_for_java_are_kept():
    own = {"name": "JAVA_TOOL_OPTIONS", "value": "-Xmx1g"}
    for place in ("containers", "initContainers"):
        pod = {"containers": [{"name": "main", "image": "main:1"}]}
        pod[place] = [{"name": "java", "image": "java:1", "env": [own]}]
        pod.setdefault("containers", POD["containers"])
        [container] = [container for container in admitted(workload("Pod", pod))["spec"][place] if container["name"] == "java"]
        [options] = [variable["value"] for variable in container["env"] if variable["name"] == own["name"]]
        assert options.startswith("-Xmx1g -Dhttps.proxyHost=127.0.0.1 ")


def test_a_variable_that_comes_from_elsewhere_stays_and_the_pod_valid():
    spec = admitted(workload("Pod"))["spec"]
    [other] = [container for container in spec["containers"] if container["name"] == "other"]
    [variable] = [variable for variable in other["env"] if variable["name"] == "HTTPS_PROXY"]
    assert variable == POD["containers"][1]["env"][0] and "value" not in variable
    assert "http://127.0.0.1:3128" in [variable.get("value") for variable in other["env"] if variable["name"] == "https_proxy"]


def test_a_literal_of_the_wrong_type_is_seen_as_in_the_cluster():
    wrong = 'Object{spec: Object.spec{volumes: [Object.spec.containers{name: "x"}]}}'
    with pytest.raises(AssertionError, match="Object.spec.containers"):
        plain(evaluated(wrong, {}), "Object")


def admitted(pod):
    """The pod after the policy."""
    pod = copy.deepcopy(pod)
    context = {"params": rendered("ConfigMap")}
    for condition in POLICY["matchConditions"]:
        if not evaluated(condition["expression"], {**context, "object": pod}):
            return pod
    variables = {variable["name"]: evaluated(variable["expression"], context) for variable in POLICY["variables"]}
    for mutation in POLICY["mutations"]:
        bound = {**context, "object": pod, "variables": variables}
        if mutation["patchType"] == "JSONPatch":
            for operation in evaluated(mutation["jsonPatch"]["expression"], bound):
                patch(pod, operation)
        else:
            pod = merged(pod, plain(evaluated(mutation["applyConfiguration"]["expression"], bound), "Object"))
    return pod


def evaluated(expression, bound):
    """The value of a CEL expression in Python's types."""
    # Object.spec.volumes{name: ...} and JSONPatch{op: ...} are Kubernetes' own; maps have quoted keys.
    literals = re.sub(r'\b((?:Object|JSONPatch)[.\w]*)\{', rf'{{"{TYPE}": "\1", ', expression)
    literals = re.sub(r"(?<=[{,\s])(\w+): ", r'"\1": ', literals)
    environment = celpy.Environment()
    program = environment.program(environment.compile(literals))
    return python(program.evaluate({name: celpy.json_to_cel(value) for name, value in bound.items()}))


def python(value):
    match value:
        case dict():
            return {str(key): python(item) for key, item in value.items()}
        case list():
            return [python(item) for item in value]
        case celpy.celtypes.BoolType():
            return bool(value)
        case int():
            return int(value)
        case _:
            return str(value)


def plain(value, place):
    """The value without the names of its literals' types. Each must be its place, and plain maps of one type, as the API server demands."""
    if isinstance(value, list):
        return [plain(item, place) for item in value]
    if not isinstance(value, dict):
        return value
    value = dict(value)
    if TYPE in value:
        assert value.pop(TYPE) == place, f"{value} at {place}"
    else:
        assert len({type(item) for item in value.values()}) < 2, value
    return {key: plain(item, f"{place}.{key}") for key, item in value.items()}


def patch(pod, operation):
    """An `add` of a JSON patch."""
    assert operation.pop(TYPE) == "JSONPatch" and operation["op"] == "add"
    *way, last = operation["path"].strip("/").split("/")
    place = pod
    for step in way:
        place = place[step]
    value = operation["value"]
    value = plain(value, value[TYPE]) if isinstance(value, dict) else value
    if isinstance(place, list):
        place.insert(int(last), value)
    else:
        place[last] = value


def merged(old, new, field=None):
    """An apply configuration merged into an object: lists by their keys, new elements at the end."""
    if isinstance(new, dict) and isinstance(old, dict):
        return {**old, **{key: merged(old.get(key), value, key) for key, value in new.items()}}
    if not isinstance(new, list):
        return new
    assert new, "an empty list is null to the API server"
    assert field in KEYS, f"{field} is atomic to the API server, or the test does not know it"
    key = KEYS[field]
    result = list(old or [])
    for element in new:
        found = [index for index, present in enumerate(result) if present[key] == element[key]]
        assert len(found) < 2, "twice the same key is an error to the API server"
        if found:
            result[found[0]] = merged(result[found[0]], element)
        else:
            result.append(merged({}, element))
    return result
