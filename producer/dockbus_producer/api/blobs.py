"""`/v1/blobs` and `/v1/jobs/ID/artefacts`: files for jobs, and files that jobs have left."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from typing import Annotated
from urllib.parse import quote

from fastapi import APIRouter, Depends, Request
from fastapi.responses import StreamingResponse
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool

from dockbus import JobNotFound
from dockbus.artefacts import Artefact, ArtefactNotFound, pick
from dockbus.blobs import PIECE, BlobNotFound, BlobTooLarge, Digest
from dockbus_producer.api.access import TheBus
from dockbus_producer.api.openapi import problems

router = APIRouter(tags=["files"])
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}


class Uploaded(BaseModel):
    """What the bus has now."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    digest: Digest
    """What jobs know it by."""
    size: int
    """Bytes."""


async def _uploaded(request: Request, bus: TheBus) -> Uploaded:
    with tempfile.SpooledTemporaryFile(max_size=PIECE) as file:
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > bus.settings.bus.blob_size:  # refused before it fills a disk
                raise BlobTooLarge(f"it has more than {bus.settings.bus.blob_size} bytes")
            file.write(chunk)
        file.seek(0)
        blob = await run_in_threadpool(bus.upload, iter(lambda: file.read(PIECE), b""))
    return Uploaded(digest=blob.digest, size=blob.size)


@router.post(
    "/blobs",
    status_code=201,
    responses=problems(BlobTooLarge),
    openapi_extra={"requestBody": {"required": True, "content": _BYTES}},
)
async def upload(uploaded: Annotated[Uploaded, Depends(_uploaded)]) -> Uploaded:
    """Put a file on the bus that a job is to use, such as the tar of a build context. The body is the file.

    It is kept as long as an order holds. The same bytes again are the same file.
    """
    return uploaded


@router.get("/jobs/{job_id}/artefacts", responses=problems(JobNotFound))
def list_artefacts(job_id: str, bus: TheBus) -> Sequence[Artefact]:
    """The files that a job has left."""
    return bus.job(job_id).artefacts()


@router.get(
    "/jobs/{job_id}/artefacts/{name:path}",
    response_class=StreamingResponse,
    responses={
        200: {"content": _BYTES},
        **problems(JobNotFound, ArtefactNotFound, BlobNotFound),
    },
)
def get_artefact(job_id: str, name: str, bus: TheBus) -> StreamingResponse:
    """One of the files that a job has left. A connection that breaks before `Content-Length` bytes: ask again."""
    artefact = pick(bus.job(job_id).artefacts(), name)
    headers = {
        "Content-Length": str(bus.blobs.size(artefact.digest)),
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name.rpartition('/')[2], safe='')}",
        "X-Content-Type-Options": "nosniff",
    }
    return StreamingResponse(
        bus.blobs.read(artefact.digest), headers=headers, media_type=artefact.media_type
    )
