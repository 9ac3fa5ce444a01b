"""The layers of an image, read from `docker save` in one pass: which files each brings, and which it takes away.

Nothing is unpacked and no file's content kept; memory holds the paths. Both layouts are read, Docker's own and
OCI's, whose layers may be compressed with gzip.
"""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any, cast

from dockbus_workers.building.archives import Entry, entries
from dockbus_workers.building.folders import ContextUnusable

_WHITEOUT = ".wh."
_OPAQUE = ".wh..wh..opq"
_LARGEST_JSON = 16 * 1024**2
_MOST_NAMES = 128 * 1024**2
"""Characters of all paths, and a hundred for each: what memory they take."""
_ZSTD = b"\x28\xb5\x2f\xfd"


@dataclass
class Layer:
    """What one layer does to the files below it."""

    instruction: str = ""
    files: dict[str, int] = field(default_factory=dict[str, int])
    """Bytes of each file, link (0) and the like that it brings, by path."""
    removed: set[str] = field(default_factory=set[str])
    """Files and folders of lower layers that it takes away."""
    emptied: set[str] = field(default_factory=set[str])
    """Folders of which it takes away all that lower layers have in them."""
    names: int = 0
    """Characters of its paths, and a hundred for each."""


class LayersUnreadable(Exception):
    """An image is packed in a way that is not known here."""


def read(pieces: Iterable[bytes]) -> list[Layer]:
    """The layers of a saved image, the lowest first, with their instructions.

    Raises:
        LayersUnreadable: it is no such archive, or its layers are packed in an unknown way.
    """
    layers: dict[str, Layer] = {}
    texts: dict[str, Any] = {}
    aliases: dict[str, str] = {}
    try:
        with tarfile.open(
            fileobj=cast("IO[bytes]", _Pieces(pieces)), mode="r|", tarinfo=Entry
        ) as outer:
            for entry in entries(outer):
                name = entry.name.removeprefix("./")
                if entry.issym() or entry.islnk():  # a layer that is there twice
                    aliases[name] = (
                        _beside(name, entry.linkname) if entry.issym() else entry.linkname
                    )
                elif entry.isreg() and (content := outer.extractfile(entry)):
                    _sort_in(name, entry.size, content, layers, texts)
        return _in_order(layers, texts, aliases)
    except (
        ContextUnusable,
        RecursionError,
        tarfile.TarError,
        EOFError,
        KeyError,
        IndexError,
        TypeError,
        ValueError,
        OSError,
    ) as error:
        raise LayersUnreadable(str(error)) from error


def _sort_in(
    name: str, size: int, content: IO[bytes], layers: dict[str, Layer], texts: dict[str, Any]
) -> None:
    """Read one file of the archive as what its first bytes say: zeros are a layer without files."""
    room = _MOST_NAMES - sum(layer.names for layer in layers.values())
    file = io.BufferedReader(cast("io.RawIOBase", content), 65536)
    head = file.peek(512)[:512]
    if head.startswith(_ZSTD):
        raise LayersUnreadable("a layer is compressed with zstd")
    if head.startswith(b"\x1f\x8b"):
        layers[name] = _layer(cast("IO[bytes]", gzip.GzipFile(fileobj=file)), room)
    elif head[257:262] == b"ustar" or name.endswith("/layer.tar") or (head and not any(head)):
        layers[name] = _layer(cast("IO[bytes]", file), room)
    elif head[:1] in (b"{", b"[") and size <= _LARGEST_JSON:
        texts[name] = json.loads(file.read())


def _layer(content: IO[bytes], room: int) -> Layer:
    layer = Layer()
    with tarfile.open(fileobj=content, mode="r|", tarinfo=Entry) as tar:
        for entry in entries(tar):
            path = entry.name.removeprefix("./").strip("/")
            folder, _, name = path.rpartition("/")
            layer.names += len(path) + 100
            if layer.names > room:
                raise LayersUnreadable("its files are too many, or their names too long")
            if name == _OPAQUE:
                layer.emptied.add(folder)
            elif name.startswith(_WHITEOUT):
                layer.removed.add(f"{folder}/{name.removeprefix(_WHITEOUT)}".lstrip("/"))
            elif not entry.isdir():
                layer.files[path] = entry.size if entry.isreg() else 0
    return layer


def _in_order(
    layers: Mapping[str, Layer], texts: Mapping[str, Any], aliases: Mapping[str, str]
) -> list[Layer]:
    manifest = texts["manifest.json"][0]
    config = texts[manifest["Config"]]
    found: list[Layer] = []
    for name, instruction in zip(
        manifest["Layers"], _instructions(config, len(manifest["Layers"])), strict=True
    ):
        there = layers[aliases.get(name, name)]
        found.append(Layer(instruction, there.files, there.removed, there.emptied))
    return found


def _instructions(config: Mapping[str, Any], count: int) -> Sequence[str]:
    """For each layer, what made it; empty where the history does not tell."""
    made = [
        item.get("created_by", "")
        for item in config.get("history") or ()
        if not item.get("empty_layer")
    ]
    made = made[-count:] if count else []
    return [""] * (count - len(made)) + [clean(text) for text in made]


def clean(created_by: str) -> str:
    """An instruction as it stood in the Dockerfile, from an image's history."""
    text = created_by.removesuffix(" # buildkit").strip()
    for prefix, name in (
        ("/bin/sh -c #(nop) ", ""),
        ("RUN /bin/sh -c ", "RUN "),
        ("/bin/sh -c ", "RUN "),
    ):
        if text.startswith(prefix):
            text = name + text.removeprefix(prefix)
            break
    return " ".join(text.split())


def _beside(name: str, target: str) -> str:
    """Where a relative link in the archive leads."""
    parts = name.split("/")[:-1]
    for part in target.split("/"):
        if part == "..":
            parts.pop()
        elif part != ".":
            parts.append(part)
    return "/".join(parts)


class _Pieces:
    """Pieces of bytes as a file that tarfile can read."""

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces: Iterator[bytes] = iter(pieces)
        self._rest = b""

    def read(self, size: int) -> bytes:
        found = bytearray(self._rest)
        while len(found) < size and (piece := next(self._pieces, b"")):
            found += piece
        self._rest = bytes(found[size:])
        return bytes(found[:size])
