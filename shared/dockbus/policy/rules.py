"""The rules of a policy: what each refuses, from which level on, and what to do instead.

Data only. What breaks a rule is found in `isolation`, `mounts` and `limits`, which know nothing of levels; the numbers
are those of section 5 (4.1: 4) of the CIS Docker Benchmark 1.6.
"""

from __future__ import annotations

from dataclasses import dataclass

from dockbus.settings import PolicyLevel

LEVELS: tuple[PolicyLevel, ...] = ("privileged", "baseline", "restricted")
"""From the one that allows most to the one that allows least; each has the rules of those before it."""


@dataclass(frozen=True)
class Rule:
    """One thing that a policy refuses."""

    id: str
    """Stable name."""
    level: PolicyLevel
    """The first level that has it; those of `privileged` are always there and cannot be switched off."""
    refuses: str
    """What it refuses."""
    remedy: str
    """What whoever wrote the job does about it."""
    cis: str = ""
    """Number of the recommendation of the CIS Docker Benchmark 1.6; empty where it has none."""


_ALL = (
    Rule(
        "reserved-label",
        "privileged",
        "labels that dockbus itself sets and trusts: all that begin with `dockbus.` but `dockbus.keep`, `dockbus.demo` and `dockbus.test`",
        "leave it out, or use a name of your own",
    ),
    Rule(
        "reserved-name",
        "privileged",
        "names of containers and volumes that begin with `dockbus-`, and images `dockbus/holder` and `dockbus-building`: dockbus' own",
        "use another name",
    ),
    Rule(
        "image-source",
        "privileged",
        "images that are none of `images.only`, where the policy has that",
        "use an image that the policy names, by its name",
    ),
    Rule(
        "image-digest",
        "privileged",
        "images that are not named by a digest, where the policy says `images.digest: true`",
        "write name@sha256:…",
    ),
    Rule(
        "memory-maximum",
        "privileged",
        "more memory and swap than `limits.memory`, where the policy has that",
        "ask for less",
    ),
    Rule(
        "cpu-maximum",
        "privileged",
        "more CPUs than `limits.cpus`, or no bound, where the policy has that",
        "set `cpus`",
    ),
    Rule(
        "forbidden-action",
        "privileged",
        "actions on containers that stand in `actions.forbid`, where the policy has that",
        "do without it",
    ),
    Rule(
        "unlabelled-target",
        "privileged",
        "actions on containers without the labels of `actions.only_labelled`, where the policy has that",
        "make the container with these labels",
    ),
    Rule(
        "kept-container",
        "privileged",
        "removing a container that carries the label `dockbus.keep` with the value `true`",
        "make it anew without the label first",
    ),
    Rule(
        "job-container",
        "baseline",
        "actions on the container of a job that has not ended",
        "cancel that job, or wait for its end",
    ),
    Rule(
        "exec-reach",
        "baseline",
        "commands in containers that have what no job's container may have: privileges, folders or namespaces of the machine…",
        "run the command in a container of its own, or have what it reaches allowed",
    ),
    Rule(
        "privileged",
        "baseline",
        "privileged containers, whose root is the machine's",
        "leave `privileged` out and name the one capability or device it needs",
        "5.5",
    ),
    Rule(
        "host-network",
        "baseline",
        "the machine's network",
        "publish what it serves with `ports`",
        "5.10",
    ),
    Rule(
        "container-network",
        "baseline",
        "the network of another container",
        "put both on one network of their own",
    ),
    Rule("host-pid", "baseline", "the machine's processes", "leave `pid_mode` out", "5.16"),
    Rule("host-ipc", "baseline", "the machine's shared memory", "leave `ipc_mode` out", "5.17"),
    Rule("host-uts", "baseline", "the machine's host name", "set `hostname` instead", "5.21"),
    Rule("host-users", "baseline", "the machine's users", "leave `userns_mode` out", "5.31"),
    Rule("host-cgroups", "baseline", "the machine's control groups", "leave `cgroupns` out"),
    Rule(
        "engine-socket",
        "baseline",
        "the socket of an Engine, or a folder that holds one: whoever has it is root on the machine",
        "let a job of the right kind do it",
        "5.32",
    ),
    Rule(
        "sensitive-path",
        "baseline",
        "folders that the machine itself runs on, and what holds them",
        "use a volume, or have the very path allowed",
        "5.6",
    ),
    Rule(
        "host-path",
        "baseline",
        "all other paths of the machine",
        "use a volume, or have the path allowed",
        "5.6",
    ),
    Rule(
        "shared-propagation",
        "baseline",
        "mounts that the container passes on to the machine",
        "leave `propagation` out, or use `rslave`",
        "5.20",
    ),
    Rule(
        "volume-options",
        "baseline",
        "volumes whose options mount something else than memory: a folder, a device, a share",
        "leave `driver_opts` out; for a folder use a mount of type `bind`, which can be allowed",
        "5.6",
    ),
    Rule("volume-driver", "baseline", "volume drivers but `local`", "leave `driver` out"),
    Rule(
        "log-options",
        "baseline",
        "options of logs that lift or raise the bounds of what the Engine keeps: more than 100 MB a file or 10 files, a buffer of more than 16 MB",
        "ask for less",
    ),
    Rule("device", "baseline", "devices of the machine", "have the device allowed", "5.18"),
    Rule(
        "capability",
        "baseline",
        "capabilities that Docker does not give every container",
        "do without it, or have it allowed",
        "5.4",
    ),
    Rule(
        "seccomp-unconfined",
        "baseline",
        "containers without a filter of system calls",
        "leave `seccomp` out",
        "5.22",
    ),
    Rule(
        "seccomp-profile",
        "baseline",
        "filters of system calls that come with the job: nobody can tell whether they let through more than the Engine's",
        "leave `seccomp` out",
        "5.22",
    ),
    Rule(
        "apparmor-unconfined",
        "baseline",
        "containers without AppArmor",
        "leave `apparmor` out, or name a profile",
        "5.2",
    ),
    Rule(
        "selinux-label",
        "baseline",
        "SELinux labels but levels and the types of containers",
        "leave it out",
        "5.3",
    ),
    Rule(
        "new-privileges",
        "baseline",
        "programs that gain privileges, as setuid ones do",
        "leave `no_new_privileges` out, and start the program as the user it needs",
        "5.26",
    ),
    Rule(
        "sysctl",
        "baseline",
        "kernel parameters but those of a container's own network and shared memory",
        "leave it out",
    ),
    Rule("runtime", "baseline", "OCI runtimes but the Engine's own", "leave `runtime` out"),
    Rule(
        "cgroup-parent",
        "baseline",
        "a place among the control groups of the machine",
        "leave `cgroup_parent` out",
        "5.25",
    ),
    Rule(
        "memory-limit", "baseline", "containers without a limit of memory", "set `memory`", "5.11"
    ),
    Rule("pids-limit", "baseline", "containers without a limit of processes", "set `pids`", "5.29"),
    Rule(
        "root-user",
        "restricted",
        "programs whose user is root, or not said to be another by its number",
        "set `user` to a number, such as '1000:1000'",
        "4.1",
    ),
    Rule(
        "writable-root",
        "restricted",
        "a root file system that can be written to",
        "set `read_only`, with a volume or tmpfs where it has to write",
        "5.13",
    ),
    Rule(
        "kept-capabilities",
        "restricted",
        "containers that keep capabilities: `cap_drop` without `ALL`",
        "leave `cap_drop` out",
        "5.4",
    ),
    Rule(
        "extra-capability",
        "restricted",
        "added capabilities but `NET_BIND_SERVICE`",
        "do without it, or have it allowed",
        "5.4",
    ),
    Rule(
        "privileged-port",
        "restricted",
        "ports of the machine below 1024",
        "use a port from 1024 on",
        "5.8",
    ),
    Rule(
        "open-address",
        "restricted",
        "ports on all addresses of the machine",
        "name the one address to listen on",
        "5.14",
    ),
    Rule(
        "default-bridge",
        "restricted",
        "Docker's default network, where all containers reach each other",
        "leave `networks` out",
        "5.30",
    ),
    Rule(
        "foreign-network",
        "restricted",
        "networks but dockbus' own and none",
        "leave `networks` out, or have the network allowed",
    ),
    Rule(
        "unbounded-restart",
        "restricted",
        "starting a container again without end: `restart` but `no` and up to `on-failure:5`",
        "use 'on-failure:5' or less",
        "5.15",
    ),
    Rule(
        "not-enforced",
        "restricted",
        "confinement that the Engine would take and not enforce (AppArmor, SELinux, seccomp)",
        "leave the option out, or run the job on an Engine that can",
    ),
)
RULES: dict[str, Rule] = {rule.id: rule for rule in _ALL}
"""Every rule by its name."""
