"""The small vulnerability database of the examples: in a folder of the test's own, or in a registry.

`NEWER` is another edition of it, made a year later: it knows CVE-2023-4912 where the first knows CVE-2023-4911.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import http.client
import io
import json
import shutil
import sqlite3
import tarfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

SOURCE = Path(__file__).parent.parent / "examples" / "trivy-db" / "db"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.aquasec.trivy.config.v1+json"


@dataclass(frozen=True)
class Edition:
    """A database, and when it says it was made."""

    made: datetime
    knows: bytes

    def files(self) -> dict[str, bytes]:
        about = json.loads((SOURCE / "metadata.json").read_text())
        about["UpdatedAt"] = f"{self.made:%Y-%m-%dT%H:%M:%SZ}"
        data = (SOURCE / "trivy.db").read_bytes().replace(OLDER.knows, self.knows)
        return {"trivy.db": data, "metadata.json": json.dumps(about).encode()}


OLDER = Edition(datetime(2025, 1, 1, tzinfo=UTC), b"CVE-2023-4911")
NEWER = Edition(datetime(2026, 1, 1, tzinfo=UTC), b"CVE-2023-4912")


def copy(folder: Path) -> Path:
    """Put it below `folder`; returns the folder that is Trivy's cache."""
    shutil.copytree(SOURCE, folder / "db")
    return folder


def put(folder: Path, edition: Edition) -> Path:
    """Put an edition below `folder`, in the place of what is there; returns the folder that is Trivy's cache."""
    (folder / "db").mkdir(parents=True, exist_ok=True)
    for name, data in edition.files().items():
        (folder / "db" / f"{name}.new").write_bytes(data)
        (folder / "db" / f"{name}.new").replace(folder / "db" / name)
    return folder


def push(registry: str, repository: str, edition: Edition = OLDER) -> str:
    """Put an edition in a registry, as Trivy fetches it; returns its reference."""
    return _push(registry, f"{repository}:2", edition.files(), "db")


def push_java(registry: str, repository: str, folder: Path) -> str:
    """Put a database of Java archives in a registry that knows none; returns its reference."""
    with contextlib.closing(sqlite3.connect(folder / "trivy-java.db")) as database:
        database.executescript(
            "CREATE TABLE artifacts(id INTEGER PRIMARY KEY, group_id TEXT, artifact_id TEXT);"
            "CREATE TABLE indices(artifact_id INTEGER, version TEXT, sha1 BLOB, archive_type TEXT);"
        )
    about = {"Version": 1} | dict.fromkeys(
        ("UpdatedAt", "DownloadedAt"), f"{OLDER.made:%Y-%m-%dT%H:%M:%SZ}"
    )
    files = {
        "trivy-java.db": (folder / "trivy-java.db").read_bytes(),
        "metadata.json": json.dumps(about | {"NextUpdate": "2099-01-01T00:00:00Z"}).encode(),
    }
    return _push(registry, f"{repository}:1", files, "javadb")


def _push(registry: str, reference: str, files: dict[str, bytes], sort: str) -> str:
    repository, _, tag = reference.rpartition(":")
    layer = _blob(registry, repository, _packed(files)) | {
        "mediaType": f"application/vnd.aquasec.trivy.{sort}.layer.v1.tar+gzip",
        "annotations": {"org.opencontainers.image.title": f"{sort}.tar.gz"},
    }
    manifest = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _blob(registry, repository, b"{}") | {"mediaType": _CONFIG},
        "layers": [layer],
    }
    body = json.dumps(manifest).encode()
    _send(registry, "PUT", f"/v2/{repository}/manifests/{tag}", body, _MANIFEST)
    return f"{registry}/{reference}"


def _packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, io.BytesIO(data))
    return gzip.compress(buffer.getvalue(), mtime=0)


def _blob(registry: str, repository: str, data: bytes) -> dict[str, object]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    place = urlsplit(_send(registry, "POST", f"/v2/{repository}/blobs/uploads/"))
    _send(registry, "PUT", f"{place.path}?{place.query}&digest={digest}", data)
    return {"digest": digest, "size": len(data)}


def _send(
    registry: str,
    method: str,
    path: str,
    data: bytes = b"",
    media_type: str = "application/octet-stream",
) -> str:
    """Send it; returns where the answer says to go on."""
    with contextlib.closing(http.client.HTTPConnection(registry, timeout=10)) as client:
        client.request(method, path, data, {"Content-Type": media_type})
        answer = client.getresponse()
        assert answer.status < 300, answer.read()
        return answer.headers.get("Location") or ""
