"""What a job leaves beside its result: a report, an SBOM, files out of its container."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

from dockbus.blobs import Digest
from dockbus.errors import DockbusError, near_miss


class ArtefactNotFound(DockbusError):
    """The job has left nothing of that name.

    Its result lists what it has left.
    """


class Artefact(BaseModel):
    """A file that a job has left. The bus keeps it as long as the job's record, a day or a week."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    name: str
    """What it is called; no two of one job are called the same."""
    media_type: str
    """Such as `application/json`."""
    digest: Digest
    """Where its bytes are."""
    size: int
    """Bytes."""


def pick(artefacts: Sequence[Artefact], name: str) -> Artefact:
    """The one of that name.

    Raises:
        ArtefactNotFound: there is none.
    """
    for artefact in artefacts:
        if artefact.name == name:
            return artefact
    names = [artefact.name for artefact in artefacts]
    told = f"it has left {', '.join(names)}" if names else "it has left no files"
    raise ArtefactNotFound(f"{name!r}{near_miss(name, names)}; {told}")
