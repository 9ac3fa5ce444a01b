"""One Engine's events, on the bus as CloudEvents: none missed, none doubled, and a snapshot of what the Engine holds.

The Engine's own stream is a doorbell, not a log: it remembers 256 events, drops some for whoever reads slowly, and
forgets all when it restarts. So what is heard is compared, again and again, with what is there:

    reader     reads the stream in a thread of its own, which waits for nothing else
    world      what has been told of each container: takes what is heard and what is seen, says what is still to tell
    ledger     events, snapshot and cursor in Redis, moved together, by the holder of the lease only
    observer   leads the others
"""

from dockbus_producer.docker_events.observer import DockerEvents

__all__ = ["DockerEvents"]
