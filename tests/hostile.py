"""Run jobs that ask for what none should have: what each is, its spec, and the rule that must name it."""

from __future__ import annotations

from typing import Any

from dockbus import Run

LOCAL: dict[str, Any] = {"type": "volume", "source": "v", "target": "/x"}


def mount(source: str, **fields: object) -> dict[str, Any]:
    return {"volumes": [{"type": "bind", "source": source, "target": "/x", **fields}]}


def volume(driver: str = "local", **options: str) -> dict[str, Any]:
    return {"volumes": [LOCAL | {"driver": driver, "driver_opts": options}]}


HOSTILE: list[tuple[str, dict[str, Any], str]] = [
    ("privileged", {"privileged": True}, "privileged"),
    ("the machine's network", {"networks": "host"}, "host-network"),
    ("another container's network", {"networks": ["container:db"]}, "container-network"),
    ("the machine's processes", {"pid_mode": "host"}, "host-pid"),
    ("the machine's shared memory", {"ipc_mode": "host"}, "host-ipc"),
    ("the machine's name", {"uts_mode": "host"}, "host-uts"),
    ("the machine's users", {"userns_mode": "host"}, "host-users"),
    ("the machine's control groups", {"cgroupns": "host"}, "host-cgroups"),
    ("Docker's socket", {"volumes": ["/var/run/docker.sock:/s"]}, "engine-socket"),
    ("Docker's socket, read-only", {"volumes": ["/run/docker.sock:/s:ro"]}, "engine-socket"),
    ("containerd's folder", {"volumes": ["/run/containerd:/s"]}, "engine-socket"),
    ("Podman's socket", {"volumes": ["/run/podman/podman.sock:/s"]}, "engine-socket"),
    ("CRI-O's socket", {"volumes": ["/var/run/crio/crio.sock:/s"]}, "engine-socket"),
    ("a rootless socket", {"volumes": ["/run/user/1000/docker.sock:/s"]}, "engine-socket"),
    ("a socket in an odd place", {"volumes": ["/srv/x/docker.sock:/s"]}, "engine-socket"),
    ("the folder of sockets", {"volumes": ["/run:/r"]}, "engine-socket"),
    ("the same by its old name", {"volumes": ["/var/run/:/r"]}, "engine-socket"),
    ("the folder above that", {"volumes": ["/var:/v"]}, "engine-socket"),
    ("everything", {"volumes": ["/:/host"]}, "engine-socket"),
    ("a socket by way of a process", mount("/proc/1/root/run/docker.sock"), "engine-socket"),
    ("and of a thread", mount("/proc/self/task/1/root/var/run/docker.sock"), "engine-socket"),
    ("a socket with dots", mount("/srv/../run/./x/../docker.sock"), "engine-socket"),
    ("a socket with slashes", mount("//run///docker.sock/"), "engine-socket"),
    ("configuration", {"volumes": ["/etc:/e:ro"]}, "sensitive-path"),
    ("one file of it", {"volumes": ["/etc/shadow:/e:ro"]}, "sensitive-path"),
    ("configuration by way of a process", mount("/proc/self/root/etc"), "sensitive-path"),
    ("configuration with dots", mount("/srv/data/../../etc/"), "sensitive-path"),
    ("the kernel's view", {"volumes": ["/proc:/p"]}, "sensitive-path"),
    ("the kernel's switches", {"volumes": ["/sys/fs/cgroup:/c"]}, "sensitive-path"),
    ("all devices", {"volumes": ["/dev:/d"]}, "sensitive-path"),
    ("the Engine's data", {"volumes": ["/var/lib/docker/overlay2:/d"]}, "sensitive-path"),
    ("what holds the Engine's data", {"volumes": ["/var/lib:/d"]}, "sensitive-path"),
    ("root's home", {"volumes": ["/root/.ssh:/k"]}, "sensitive-path"),
    ("jobs of cron", {"volumes": ["/var/spool:/c"]}, "sensitive-path"),
    ("any folder at all", {"volumes": ["/srv/data:/d:ro"]}, "host-path"),
    ("mounts that reach out", mount("/srv/data", propagation="rshared"), "shared-propagation"),
    ("a folder in disguise", volume(type="none", o="bind", device="/etc"), "volume-options"),
    ("the same with rbind", volume(o="rw,rbind", device="/"), "volume-options"),
    ("and as a tmpfs", volume(type="tmpfs", o="bind", device="/etc"), "volume-options"),
    ("hidden among options", volume(type="tmpfs", o="size=1m,bind"), "volume-options"),
    ("a disk", volume(type="ext4", device="/dev/sda1"), "volume-options"),
    ("a share", volume(type="nfs", o="addr=10.0.0.1", device=":/x"), "volume-options"),
    ("a Windows share", volume(type="cifs", device="//h/x"), "volume-options"),
    (
        "an overlay",
        volume(type="overlay", device="overlay", o="lowerdir=/etc,upperdir=/u,workdir=/w"),
        "volume-options",
    ),
    (
        "a volume without a name in disguise",
        {"volumes": [{"target": "/x", "driver_opts": {"o": "bind", "device": "/"}}]},
        "volume-options",
    ),
    ("a driver nobody knows", volume("rexray", volumeid="1"), "volume-driver"),
    ("a volume of another job's secrets", {"volumes": ["dockbus-5a5a:/x"]}, "reserved-name"),
    ("all memory for its output", {"log_options": {"max-buffer-size": "64g"}}, "log-options"),
    ("a disk as a device", {"devices": ["/dev/sda"]}, "device"),
    ("a device with dots", {"devices": ["/dev/null/../sda:/dev/null"]}, "device"),
    ("all capabilities", {"cap_add": ["ALL"]}, "capability"),
    ("the new root", {"cap_add": ["SYS_ADMIN"]}, "capability"),
    ("the same, spelled otherwise", {"cap_add": ["cap_Sys_Admin"]}, "capability"),
    ("other programs' memory", {"cap_add": ["CAP_SYS_PTRACE"]}, "capability"),
    ("kernel modules", {"cap_add": ["SYS_MODULE"]}, "capability"),
    ("the network's switches", {"cap_add": ["net_admin"]}, "capability"),
    ("files by their number", {"cap_add": ["DAC_READ_SEARCH"]}, "capability"),
    ("programs in the kernel", {"cap_add": ["BPF"]}, "capability"),
    ("one bad one among good ones", {"cap_add": ["CHOWN", "SYS_RAWIO"]}, "capability"),
    ("no filter of system calls", {"seccomp": "unconfined"}, "seccomp-unconfined"),
    ("one of its own", {"seccomp": {"defaultAction": "SCMP_ACT_ALLOW"}}, "seccomp-profile"),
    ("no AppArmor", {"apparmor": "unconfined"}, "apparmor-unconfined"),
    ("no AppArmor by another name", {"apparmor": ":root:unconfined"}, "apparmor-unconfined"),
    ("no SELinux", {"selinux": ["disable"]}, "selinux-label"),
    ("an SELinux type that may do all", {"selinux": ["type:spc_t"]}, "selinux-label"),
    ("privileges by setuid", {"no_new_privileges": False}, "new-privileges"),
    ("a switch of the machine", {"sysctls": {"kernel.panic": "1"}}, "sysctl"),
    ("the same with slashes", {"sysctls": {"kernel/core_pattern": "|/x"}}, "sysctl"),
    ("memory of the machine", {"sysctls": {"vm.overcommit_memory": "1"}}, "sysctl"),
    ("another runtime", {"runtime": "anything"}, "runtime"),
    ("a place of its own", {"cgroup_parent": "/"}, "cgroup-parent"),
    ("all memory", {"memory": 0}, "memory-limit"),
    ("all processes", {"pids": 0}, "pids-limit"),
    ("to be taken for another job", {"labels": {"dockbus.job": "5a5a"}}, "reserved-label"),
    ("to be taken for dockbus", {"labels": {"dockbus.managed": "true"}}, "reserved-label"),
    ("a label that is none yet", {"labels": {"dockbus.tomorrow": ""}}, "reserved-label"),
    ("the name of another job", {"name": "dockbus-5a5a"}, "reserved-name"),
]


def run(fields: dict[str, Any]) -> Run:
    """The job; it asks nothing else."""
    return Run.model_validate({"image": "dockbus/hostile:1", **fields})
