"""Files that a job puts into its container before the start."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import Field, model_validator

from dockbus.blobs import Digest
from dockbus.jobs.running.parts import Mode, Part, written


class File(Part):
    """A file to put into the container: its text, or bytes that were uploaded to the bus."""

    content: str | None = Field(default=None, max_length=512 * 1024)
    """Its text, readable by whoever may read the job: no place for secrets."""
    blob: Digest | None = None
    """Instead of `content`: digest of the uploaded bytes."""
    mode: Mode = 0o644
    """Its permissions, such as `0755`. It belongs to root."""

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.content is None) == (self.blob is None):
            raise ValueError("give either content or blob")
        return self


FileOrText = Annotated[File, written(lambda text: {"content": text})]
