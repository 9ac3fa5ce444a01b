"""What a policy makes of a job. Pure: the same policy and spec give the same verdict wherever it is asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from dockbus.jobs import LABEL_KEEP, Action, Build, Exec, Pull, Remove, Run, Spec
from dockbus.policy import isolation, mounts
from dockbus.policy.models import Policy, Violation
from dockbus.policy.mounts import Broken
from dockbus.policy.names import matches
from dockbus.policy.rules import RULES
from dockbus.references import Reference, is_id

_OPEN_LABELS = (LABEL_KEEP, "dockbus.demo", "dockbus.test", "dockbus.test.*")
_OWN_IMAGES = ("dockbus/holder", "dockbus-building")
"""What dockbus calls images that it makes for itself: what holds secrets, and what is not yet built."""
_REACH = frozenset(
    {
        *("privileged", "host-network", "container-network", "host-pid", "host-ipc", "host-uts"),
        *("host-users", "engine-socket", "sensitive-path", "host-path", "device"),
        *("shared-propagation", "capability", "seccomp-unconfined", "apparmor-unconfined"),
    }
)
"""The rules about what leads from a container to the machine, or to another container."""
_MODULES = ("apparmor", "selinux", "seccomp")


def violations(spec: Spec, policy: Policy) -> list[Violation]:
    """Everything in a job that the policy refuses; empty where it may be carried out."""
    return _in_force(_broken(spec, policy), policy)


def unenforced(fields: Iterable[str], policy: Policy) -> list[Violation]:
    """What the policy refuses because the Engine would take these fields of a job and not enforce them."""
    return _in_force(
        (
            ("not-enforced", field, "this Engine would not enforce it")
            for field in fields
            if field in _MODULES
        ),
        policy,
    )


def target_violations(
    spec: Action, labels: Mapping[str, str], policy: Policy, *, job: str = "", reach: Run | None
) -> list[Violation]:
    """What the policy refuses of an action because of the container that it is about.

    Args:
        spec: the action.
        labels: the container's.
        policy: the policy.
        job: the job that the container belongs to, where that has not ended.
        reach: a run job that would have made the container; None where that cannot be said.
    """
    return _in_force(_broken_by_target(spec, labels, policy, job, reach), policy)


def _broken_by_target(
    spec: Action, labels: Mapping[str, str], policy: Policy, job: str, reach: Run | None
) -> Iterator[Broken]:
    for label, value in policy.actions.only_labelled.items():
        if label not in labels or value not in ("", labels[label]):
            wanted = f"{label}={value}" if value else label
            yield "unlabelled-target", "container", f"it does not carry the label {wanted}"
    if isinstance(spec, Remove) and labels.get(LABEL_KEEP) == "true":
        yield "kept-container", "container", f"it carries the label {LABEL_KEEP}"
    if job:
        yield "job-container", "container", f"it is that of job {job}"
    if isinstance(spec, Exec):
        if reach is None:
            yield "exec-reach", "container", "what it can reach is not known"
        else:
            broken = [*isolation.check(reach, policy), *mounts.check(reach, policy)]
            for found in _in_force((one for one in broken if one[0] in _REACH), policy):
                yield "exec-reach", "container", f"{found.rule}: {found.field}: {found.what}"


def _in_force(broken: Iterable[Broken], policy: Policy) -> list[Violation]:
    return [
        Violation(rule=rule.id, field=field, what=what, remedy=rule.remedy, cis=rule.cis)
        for name, field, what in broken
        if policy.holds(rule := RULES[name])
    ]


def _broken(spec: Spec, policy: Policy) -> Iterator[Broken]:
    if spec.kind in policy.actions.forbid:
        yield "forbidden-action", "kind", f"{spec.kind.value} is not allowed"
    if isinstance(spec, Run | Build):
        for label in spec.labels:
            if label.startswith("dockbus.") and not matches(label, _OPEN_LABELS):
                yield "reserved-label", f"labels.{label}", "it is dockbus' own"
    if isinstance(spec, Build):
        for number, tag in enumerate(spec.tags):
            yield from _own(tag, f"tags.{number}")
    if isinstance(spec, Run | Pull):
        yield from _own(spec.image, "image")
        yield from _image(spec.image, policy)
    if isinstance(spec, Run):
        if spec.name and spec.name.startswith("dockbus-"):
            yield "reserved-name", "name", f"{spec.name!r} would be one of dockbus'"
        yield from isolation.check(spec, policy)
        yield from mounts.check(spec, policy)
        yield from _limits(spec, policy)


def _own(name: str, field: str) -> Iterator[Broken]:
    if not is_id(name) and Reference.parse(name).repository in _OWN_IMAGES:
        yield "reserved-name", field, f"{name!r} is dockbus' own"


def _image(name: str, policy: Policy) -> Iterator[Broken]:
    reference = None if is_id(name) else Reference.parse(name)
    if policy.images.only:
        full = f"{reference.host}/{reference.path}" if reference else name
        version = (
            ""
            if not reference
            else f"@{reference.digest}"
            if reference.digest
            else f":{reference.tag}"
        )
        if not reference or not matches(f"{full}{version}", policy.images.only):
            yield "image-source", "image", f"{full}{version} is not allowed"
    if policy.images.digest and reference and not reference.digest:
        yield "image-digest", "image", f"{name!r} may be another image tomorrow"


def _limits(spec: Run, policy: Policy) -> Iterator[Broken]:
    if spec.memory is None:
        yield "memory-limit", "memory", "it is 0"
    if spec.pids is None:
        yield "pids-limit", "pids", "it is 0"
    most = policy.limits
    if most.memory is not None and (
        spec.memory is None or max(spec.memory, spec.memory_swap or 0) > most.memory
    ):
        yield "memory-maximum", "memory", f"the most is {most.memory} bytes, swap included"
    if most.cpus is not None:
        cpus = _cpus(spec)
        if cpus is None or cpus > most.cpus:
            yield "cpu-maximum", "cpus", f"the most is {most.cpus:g}"


def _cpus(spec: Run) -> float | None:
    if spec.cpu_quota is not None:
        return spec.cpu_quota / (spec.cpu_period or 100_000)
    return spec.cpus
