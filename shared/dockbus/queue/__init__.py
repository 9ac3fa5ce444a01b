"""The seam to RQ and Redis: jobs, their transitions and their attempts. Nothing else knows how they are kept.

RQ's lists, registries and records stay true, so `rq info` and RQ's own classes see what is there. Its
transitions are not used: each of ours is one script, so that no kill can come between two halves of one.
"""

from dockbus.queue.attempts import Attempt, Attempts, End, Verdict
from dockbus.queue.keys import queue_name
from dockbus.queue.store import Jobs

__all__ = ["Attempt", "Attempts", "End", "Jobs", "Verdict", "queue_name"]
