"""The arithmetic of an image report, and reading layers out of `docker save`."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import tracemalloc
from collections.abc import Iterator

import pytest

from dockbus.errors import DockbusError
from dockbus.jobs import Build
from dockbus_workers.building import report
from dockbus_workers.building.layers import Layer, LayersUnreadable, clean, read

BASE = Layer("FROM base", {"bin/sh": 100, "etc/a": 10, "var/lib/apt/lists/x": 50})


def test_an_image_that_writes_each_file_once_wastes_nothing() -> None:
    found = report.report([BASE, Layer("COPY app", {"app/x": 40})])

    assert (found.size, found.wasted, found.efficiency, found.wastes) == (200, 0, 1.0, [])
    assert [(layer.instruction, layer.size, layer.files) for layer in found.layers] == [
        ("FROM base", 160, 3),
        ("COPY app", 40, 1),
    ]
    assert [(item.what, item.size) for item in found.removable] == [("apt lists", 50)]


def test_files_that_are_written_again_are_wasted_by_whoever_does_it() -> None:
    layers = [
        BASE,
        Layer("COPY app", {"app/x": 40, "app/y": 60}),
        Layer("RUN chown -R 1 /app", {"app/x": 40, "app/y": 60}),
    ]

    found = report.report(layers)

    assert found.wasted == 100
    assert [(waste.instruction, waste.size, waste.files, waste.path) for waste in found.wastes] == [
        ("RUN chown -R 1 /app", 100, 2, "/app")
    ]
    assert "COPY --chown" in found.wastes[0].hint
    assert found.efficiency == round(260 / 360, 4)


@pytest.mark.parametrize(
    "layer",
    [
        Layer("RUN rm", removed={"app/x", "app/y"}),
        Layer("RUN rm", removed={"app"}),
        Layer("RUN rm", emptied={"app"}),
    ],
)
def test_files_that_are_deleted_are_wasted_and_no_longer_there(layer: Layer) -> None:
    found = report.report(
        [BASE, Layer("COPY app", {"app/x": 40, "app/y.pyc": 0, "app/y": 60}), layer]
    )

    assert found.wasted == 100
    assert found.wastes[0].path == "/app"
    assert "in the RUN that makes" in found.wastes[0].hint
    assert found.efficiency == round(160 / 260, 4)
    assert not [item for item in found.removable if item.what == "Python bytecode"]


def test_what_a_folder_gets_anew_in_the_layer_that_empties_it_stays() -> None:
    found = report.report(
        [BASE, Layer("RUN x", {"etc/b": 5}, emptied={"etc"}), Layer("RUN rm", removed={"etc"})]
    )

    assert [(waste.instruction, waste.size) for waste in found.wastes] == [
        ("RUN x", 10),
        ("RUN rm", 5),
    ]


def test_an_image_without_files_is_as_good_as_can_be() -> None:
    assert report.report([]).efficiency == 1.0
    assert report.report([Layer("x", {"a": 0})]).efficiency == 1.0


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("var/lib/apt/lists/deb_dists", "apt lists"),
        ("var/cache/apt/archives/x.deb", "package caches"),
        ("root/.cache/pip/http/x", "pip cache"),
        ("home/me/.npm/_cacache/x", "npm cache"),
        ("usr/share/doc/x/copyright", "documentation"),
        ("app/.git/objects/x", "Git data"),
        ("app/node_modules/x/index.js", "node_modules"),
        ("app/__pycache__/x.cpython-313.pyc", "Python bytecode"),
        ("var/tmp/x", "temporary files"),
        ("app/git/x.py", None),
    ],
)
def test_what_is_seldom_needed_is_told_by_what_it_is(path: str, what: str | None) -> None:
    found = report.report([Layer("", {path: 7})]).removable

    assert [item.what for item in found] == ([what] if what else [])


def test_limits_are_held_and_the_worst_instruction_is_named() -> None:
    found = report.report([Layer("COPY x", {"x": 1000}), Layer("RUN chmod 1 x", {"x": 1000})])

    report.demand(order(min_efficiency=0.5, max_wasted=1000), found)
    for limit in ({"min_efficiency": 0.51}, {"max_wasted": 999}):
        with pytest.raises(report.ImageWasteful, match=r"RUN chmod 1 x.*COPY --chown"):
            report.demand(order(**limit), found)


def test_a_result_has_the_beginning_of_long_lists() -> None:
    layers = [
        layer
        for n in range(20)
        for layer in (Layer(f"A{n}", {f"{n}": n}), Layer(f"B{n}", {f"{n}": n}))
    ]
    full = report.report(layers)

    short = report.shortened(full)

    assert (len(full.wastes), len(short.wastes), len(short.layers)) == (19, 10, 40)
    assert short.wastes[0].size == 19


@pytest.mark.parametrize(
    ("made_by", "shown"),
    [
        ("/bin/sh -c #(nop) COPY file:x in /y ", "COPY file:x in /y"),
        ("/bin/sh -c make  all", "RUN make all"),
        ("RUN /bin/sh -c make # buildkit", "RUN make"),
        ("COPY a /b # buildkit", "COPY a /b"),
        ("", ""),
    ],
)
def test_an_instruction_is_shown_as_it_was_written(made_by: str, shown: str) -> None:
    assert clean(made_by) == shown


# -- reading ---------------------------------------------------------------------------------

ONE, TWO = {"a/x": b"1" * 10, "a/y": b"2" * 20}, {"a/.wh.x": b"", "b/.wh..wh..opq": b"", "c": b"3"}
HISTORY = [{"created_by": "ONE"}, {"created_by": "ENV", "empty_layer": True}, {"created_by": "TWO"}]


def tar(files: dict[str, bytes], links: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as made:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            made.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = tarfile.SYMTYPE, target
            made.addfile(info)
    return buffer.getvalue()


def dockers() -> bytes:
    """As Engines without containerd pack it; the third layer is the first one again."""
    manifest = [{"Config": "c.json", "Layers": ["1/layer.tar", "2/layer.tar", "3/layer.tar"]}]
    history = [*HISTORY, {"created_by": "THREE"}]
    files = {
        "1/json": b"{}",
        "1/layer.tar": tar(ONE),
        "2/layer.tar": tar(TWO),
        "c.json": json.dumps({"history": history}).encode(),
        "manifest.json": json.dumps(manifest).encode(),
    }
    return tar(files, {"3/layer.tar": "../1/layer.tar"})


def ocis() -> bytes:
    """As Engines with containerd pack it: compressed, under their digests."""
    blobs: dict[str, bytes] = {}

    def blob(data: bytes) -> str:
        name = f"blobs/sha256/{hashlib.sha256(data).hexdigest()}"
        blobs[name] = data
        return name

    layers = [blob(gzip.compress(tar(ONE))), blob(tar(TWO))]
    config = blob(json.dumps({"history": HISTORY}).encode())
    blobs["manifest.json"] = json.dumps([{"Config": config, "Layers": layers}]).encode()
    return tar({**blobs, "oci-layout": b'{"imageLayoutVersion":"1.0.0"}'})


def pieces(data: bytes, size: int) -> Iterator[bytes]:
    return (data[begin : begin + size] for begin in range(0, len(data), size))


@pytest.mark.parametrize("size", [100, 4096, 10**6])
@pytest.mark.parametrize("saved", [dockers, ocis])
def test_layers_are_read_in_their_order_with_their_instructions(saved: object, size: int) -> None:
    layers = read(pieces(saved(), size))  # type: ignore[operator]

    first, second = layers[:2]
    assert [layer.instruction for layer in layers] == ["ONE", "TWO", "THREE"][: len(layers)]
    assert (first.files, first.removed, first.emptied) == ({"a/x": 10, "a/y": 20}, set(), set())
    assert (second.files, second.removed, second.emptied) == ({"c": 1}, {"a/x"}, {"b"})
    assert layers[-1].files == (first.files if len(layers) == 3 else second.files)


def test_a_layer_without_files_is_one_too() -> None:
    blob = "blobs/sha256/5f70bf18"
    manifest = [{"Config": "c.json", "Layers": [blob]}]
    files = {blob: bytes(1024), "c.json": b"{}", "manifest.json": json.dumps(manifest).encode()}

    assert read(iter([tar(files)])) == [Layer()]


@pytest.mark.parametrize(
    "data", [b"", b"no archive" * 100, tar({"manifest.json": b"[]"}), dockers()[:3000]]
)
def test_what_cannot_be_read_is_said(data: bytes) -> None:
    with pytest.raises(LayersUnreadable):
        read(iter([data]))


def test_reading_an_image_takes_little_memory() -> None:
    layer = tar({f"f{n}": b"x" * 1024 * 1024 for n in range(64)})
    saved = tar(
        {
            "1/layer.tar": layer,
            "c.json": b'{"history":[]}',
            "manifest.json": b'[{"Config":"c.json","Layers":["1/layer.tar"]}]',
        }
    )
    tracemalloc.start()

    found = read(pieces(saved, 65536))

    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert sum(found[0].files.values()) == 64 * 1024**2
    assert peak < 5 * 1024**2


def order(**fields: object) -> Build:
    return Build.model_validate({"context": ".", "tags": ["a"], **fields})


def test_the_error_of_a_wasteful_image_says_what_to_do() -> None:
    assert issubclass(report.ImageWasteful, DockbusError)
    assert "log" in report.ImageWasteful("x").advice or "log" in str(report.ImageWasteful("x"))
