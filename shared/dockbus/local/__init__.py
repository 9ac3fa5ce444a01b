"""The services of one machine: an Engine, a Redis and a base image, found or else made on the spot.

`dockbus up`, the demo, the tests and CI stand on this, so that each of them starts from a bare
machine. Whatever runs already is used and left alone; whatever is started here ends with its context.
Nothing here is for a bus of several machines: there, Redis and Engines are somebody's to operate.
"""

from __future__ import annotations

from dockbus.local.engine import NoEngine, local_engine, private_engine
from dockbus.local.image import base_image
from dockbus.local.process import StartFailed
from dockbus.local.redis import local_redis

__all__ = ["NoEngine", "StartFailed", "base_image", "local_engine", "local_redis", "private_engine"]
