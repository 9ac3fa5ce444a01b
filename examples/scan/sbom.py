"""Write the SBOM of an image that the Engine has: python examples/scan/sbom.py shop/web:1 sbom.cdx.json."""

from __future__ import annotations

import sys
from pathlib import Path

from dockbus import Bus, Scan


def main(image: str, file: str) -> None:
    """Order a scan that leaves an SBOM, and write that to a file."""
    with Bus.connect() as bus:
        job = bus.enqueue(Scan(image=image, sbom="cyclonedx", reports=[]))
        job.wait(timeout=600)
        with Path(file).open("wb") as out:
            out.writelines(job.artefact("sbom.cdx.json"))


if __name__ == "__main__":
    main(*sys.argv[1:])
