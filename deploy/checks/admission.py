"""What an API server has to say to the manifests: every object is taken, and their pods, and no weaker pod."""

import copy
from collections.abc import Callable, Iterator
from typing import Final

from deploy.checks.apiserver import Cluster
from deploy.checks.render import Document, only
from deploy.checks.toolbox import CheckFailed

_PRIVILEGED: Final = {"name": "bad", "image": "bad", "securityContext": {"privileged": True}}
_HOST_PATH: Final = {"name": "bad", "hostPath": {"path": "/"}}


def check(cluster: Cluster, found: list[Document]) -> str:
    """Send everything. Raises CheckFailed with the server's own words."""
    for document in found:
        answer = cluster.apply(document)
        if not answer.accepted:
            name = f"{document['kind']} {document['metadata']['name']}"
            raise CheckFailed(f"{name}: {answer.status} {answer.message}")
    pod = pod_of(only(found, "StatefulSet"))
    answer = cluster.judge(pod)
    if not answer.accepted:
        raise CheckFailed(f"the pod: {answer.status} {answer.message}")
    refused = 0
    for flaw, bad in bad_pods(pod):
        answer = cluster.judge(bad)
        if answer.status != 403 or 'violates PodSecurity "restricted' not in answer.message:
            raise CheckFailed(f"a pod with {flaw} was not refused: {answer.status} {answer.message}")
        refused += 1
    return f"kube-apiserver: {len(found)} objects and the worker's pod accepted, {refused} bad pods refused"


def pod_of(workload: Document) -> Document:
    """The first pod that a StatefulSet's controller would make. Pod Security refuses pods, not their templates."""
    template, metadata = copy.deepcopy(workload["spec"]["template"]), workload["metadata"]
    named = {"name": f"{metadata['name']}-0", "namespace": metadata["namespace"]}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": template["metadata"] | named, "spec": template["spec"]}


def bad_pods(pod: Document) -> Iterator[tuple[str, Document]]:
    """A bare privileged pod, and the pod again, each time with one flaw."""

    def bad(flaw: str, spec: Document) -> tuple[str, Document]:
        metadata = pod["metadata"] | {"name": "bad"}
        return flaw, {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}

    def with_flaw(flaw: str, change: Callable[[Document, Document], object]) -> tuple[str, Document]:
        spec = copy.deepcopy(pod["spec"])
        change(spec, spec["containers"][0]["securityContext"])
        return bad(flaw, spec)

    yield bad("nothing but a privileged container", {"containers": [_PRIVILEGED]})
    yield with_flaw("root as its user", lambda spec, _: spec["securityContext"].update(runAsUser=0))
    yield with_flaw("leave to run as root", lambda spec, _: spec["securityContext"].pop("runAsNonRoot"))
    yield with_flaw("no seccomp profile", lambda spec, _: spec["securityContext"].pop("seccompProfile"))
    yield with_flaw("capabilities", lambda _, context: context.pop("capabilities"))
    yield with_flaw("leave to gain privileges", lambda _, context: context.update(allowPrivilegeEscalation=True))
    yield with_flaw("its node's network", lambda spec, _: spec.update(hostNetwork=True))
    yield with_flaw("its node's disk", lambda spec, _: spec["volumes"].append(_HOST_PATH))
