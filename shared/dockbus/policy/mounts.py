"""What a job mounts: which of it breaks a rule."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from dockbus.jobs import Run
from dockbus.jobs.running import Mount
from dockbus.policy.models import BindMount, Policy
from dockbus.policy.names import matches
from dockbus.policy.paths import canonical, is_within, sensitive, sockets

Broken = tuple[str, str, str]
"""The name of a rule, the field that breaks it, and what is wrong there."""
_TMPFS_OPTIONS = frozenset(
    {
        "size",
        "mode",
        "uid",
        "gid",
        "nr_inodes",
        "nr_blocks",
        "ro",
        "rw",
        "nosuid",
        "nodev",
        "noexec",
        "noatime",
    }
)


def check(spec: Run, policy: Policy) -> Iterator[Broken]:
    """What of a job's volumes breaks a rule, at whatever level."""
    for number, mount in enumerate(spec.volumes):
        field = f"volumes.{number}"
        if mount.type == "bind":
            yield from _bind(mount, policy.allow.bind_mounts, field)
        elif mount.type == "volume":
            yield from _volume(mount, policy, field)


def _bind(mount: Mount, allowed: Sequence[BindMount], field: str) -> Iterator[Broken]:
    source = mount.source or "/"
    path = canonical(source)
    shown = repr(source) if source == path else f"{source!r} is {path!r}, which"
    if found := _refused(path, allowed):
        rule, why = found
        yield rule, f"{field}.source", f"{shown} {why}"
    elif not mount.read_only and _read_only(path, allowed):
        yield "host-path", f"{field}.read_only", f"{shown} may be mounted with `read_only` only"
    if mount.propagation in ("shared", "rshared"):
        yield "shared-propagation", f"{field}.propagation", f"{mount.propagation!r} reaches out"


def _refused(path: str, allowed: Sequence[BindMount]) -> tuple[str, str] | None:
    """The rule that refuses a path, and why; None where it is allowed.

    An entry speaks for what is below it, but not for what is dangerous there, unless it names that itself.
    """
    entries = [entry.path for entry in allowed]

    def unnamed(places: list[str]) -> list[str]:
        return [
            place
            for place in places
            if not any(
                is_within(entry, canonical(place))
                and (is_within(path, entry) or entry == canonical(place))
                for entry in entries
            )
        ]

    if found := unnamed(sockets(path)):
        return "engine-socket", f"gives it {found[0]!r}"
    if found := unnamed(sensitive(path)):
        return "sensitive-path", f"is, holds or is part of {found[0]!r}"
    if not any(is_within(path, entry) for entry in entries):
        return "host-path", "is a path of the machine"
    return None


def _read_only(path: str, allowed: Sequence[BindMount]) -> bool:
    """Whether an allowed path may only be read: so says the nearest entry, or one for something dangerous in it."""
    nearest = max(
        (e for e in allowed if is_within(path, e.path)), key=lambda entry: len(entry.path)
    )
    return nearest.read_only or any(
        entry.read_only and is_within(entry.path, path) for entry in allowed
    )


def _volume(mount: Mount, policy: Policy, field: str) -> Iterator[Broken]:
    if mount.source and mount.source.startswith("dockbus-"):
        yield "reserved-name", f"{field}.source", f"{mount.source!r} would be one of dockbus'"
    driver = mount.driver or "local"
    if matches(driver, policy.allow.volume_drivers):
        return
    if driver != "local":
        yield "volume-driver", f"{field}.driver", f"{driver!r} may mount anything"
    elif wrong := _disguised(mount.driver_opts):
        yield "volume-options", f"{field}.driver_opts", wrong


def _disguised(options: dict[str, str]) -> str:
    """What else than memory, or a folder of its own, a `local` volume with these options would be."""
    if strange := options.keys() - {"type", "o", "device", "size"}:  # Engines may read `Device`
        return f"{min(strange)!r} is no option that is known to be harmless"
    if not options.keys() & {"type", "o", "device"}:
        return ""
    if options.get("type") != "tmpfs":
        return f"it would mount {options.get('device', options)!r}"
    if options.get("device", "tmpfs").startswith("/"):  # with type tmpfs that is a name only
        return f"a tmpfs has no device {options['device']!r}"
    for option in filter(None, options.get("o", "").split(",")):
        if option.partition("=")[0] not in _TMPFS_OPTIONS:
            return f"{option!r} is no option of a tmpfs that is let through"
    return ""
