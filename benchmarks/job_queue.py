"""What the queue costs beside stock RQ: to enqueue, to carry out, to wait, to keep. No Engine has a part in it.

All sides stand on one Redis and do the same job, which does nothing, in turns and in one run; only their
ratios count. Prints one `target` line per claim and keeps its numbers in `benchmarks/results/queue.json`.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from queue_support.bench import QUEUES, Bench
from queue_support.crew import crew
from queue_support.stamps import Stamps

from dockbus import Bus, Settings, local
from dockbus.settings import BusSettings, RedisSettings, WorkerSettings

ROUNDS = 5
QUICK_ROUNDS = 15
"""Of what takes a fraction of a second, where a moment of another program's weighs more."""
SLOTS = 8
RESULTS = Path(__file__).parent / "results" / "queue.json"
Rounds = Sequence[Mapping[str, float]]
"""What each side took, round by round."""


def main() -> None:
    """Measure everything."""
    with tempfile.TemporaryDirectory(prefix="dkb-") as folder:
        scratch = Path(folder)
        with local.local_redis(scratch / "redis", note) as url:
            settings = Settings(
                redis=RedisSettings(url=url),
                bus=BusSettings(key=SecretStr("benchmark"), data_dir=scratch),
                worker=WorkerSettings(slots=SLOTS),
            )
            stamps = Stamps(scratch / "stamps")
            with Bus(settings) as bus, crew(settings, QUEUES, scratch / "stamps") as hands:
                # The queue is measured, not the disk, which `always` would ask for each of RQ's many steps.
                bus.redis.config_set("appendfsync", "everysec")
                report(measure(Bench(bus, hands, stamps)))


def measure(bench: Bench) -> dict[str, Any]:
    """All numbers of one run."""
    bench.ready()
    idle = {which: hand.memory("VmRSS") for which, hand in bench.hands.items()}
    results = {
        "enqueue": rates("enqueue", in_turns(bench.enqueue, QUICK_ROUNDS, "ours", "rq")),
        "bulk": rates("bulk", in_turns(bench.bulk, QUICK_ROUNDS, "ours", "rq")),
        "execute": executed(bench),
        "waiting": waited(bench),
        "bytes_left_per_job": {
            "ours": bench.remains("ours"),
            "rq": bench.remains("simple"),
        },
    }
    peak = {which: hand.memory("VmHWM") for which, hand in bench.hands.items()}
    return results | {"resident_mb": {"idle": idle, "peak": peak}}


def in_turns(step: Callable[[str], float], rounds: int, *sides: str) -> Rounds:
    """What each side takes, in turns, after one warm-up round."""
    for side in sides:
        step(side)
    return [{side: step(side) for side in sides} for _ in range(rounds)]


def rates(what: str, rounds: Rounds) -> dict[str, Any]:
    """Jobs per second of each side, and the ratios of our rate to the others'."""
    found: dict[str, Any] = {
        f"{side}_per_second": [round(1 / taken[side]) for taken in rounds] for side in rounds[0]
    }
    for side in [side for side in rounds[0] if side != "ours"]:
        found |= ratio(f"{what}, ours to {side}", side, [(r[side], r["ours"]) for r in rounds])
    return found


def ratio(what: str, side: str, pairs: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """The ratios of some pairs, and their median."""
    ratios = sorted(a / b for a, b in pairs)
    note(f"{what}: {', '.join(f'{each:.2f}' for each in ratios)}")
    return {
        f"ratio_median_to_{side}": round(statistics.median(ratios), 3),
        f"ratios_to_{side}": [round(each, 3) for each in ratios],
    }


def executed(bench: Bench) -> dict[str, Any]:
    """Jobs per second that each worker carries out, and what that takes of its CPU."""
    cpu: dict[str, list[float]] = {which: [] for which in QUEUES}

    def step(which: str) -> float:
        taken, used = bench.execute(which)
        cpu[which].append(used)
        return taken

    found = rates("execute", in_turns(step, ROUNDS, *QUEUES))
    median = {which: round(1000 * statistics.median(used), 2) for which, used in cpu.items()}
    return found | {"cpu_ms_per_job": median}


def waited(bench: Bench) -> dict[str, Any]:
    """How long a job waits for an idle worker: half of them less than p50, one in a hundred longer than p99."""
    sides = ("ours", "fork")
    rounds = [{side: bench.waiting(side) for side in sides} for _ in range(ROUNDS)]
    pooled = {side: [seconds for taken in rounds for seconds in taken[side]] for side in sides}
    middle = [tuple(statistics.median(taken[side]) for side in sides) for taken in rounds]
    late = tuple(statistics.quantiles(pooled[side], n=100)[98] for side in sides)
    return {
        "p50": ratio("p50 of waiting, ours to fork", "fork", [(a, b) for a, b in middle]),
        "p99": ratio("p99 of waiting, ours to fork", "fork", [(late[0], late[1])]),
        "p50_ms": {side: ms(statistics.median(pooled[side])) for side in sides},
        "p99_ms": dict(zip(sides, map(ms, late), strict=True)),
    }


def ms(seconds: float) -> float:
    """Milliseconds, to a hundredth."""
    return round(1000 * seconds, 2)


def report(results: dict[str, Any]) -> None:
    """Print the targets and keep the numbers."""
    where = f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    RESULTS.write_text(json.dumps({"machine": where, **results}, indent=2) + "\n")
    execute, waiting = results["execute"], results["waiting"]
    left = results["bytes_left_per_job"]["ours"]
    peak = results["resident_mb"]["peak"]["ours"]
    at_least("queue-execute-ratio-to-fork", execute["ratio_median_to_fork"], 4.0)
    at_least("queue-execute-ratio-to-simple", execute["ratio_median_to_simple"], 1.0)
    at_least("queue-enqueue-ratio", results["enqueue"]["ratio_median_to_rq"], 0.8)
    at_least("queue-bulk-ratio", results["bulk"]["ratio_median_to_rq"], 1.0)
    at_most("queue-wait-p50-ratio-to-fork", waiting["p50"]["ratio_median_to_fork"], 1.0)
    at_most("queue-wait-p99-ratio-to-fork", waiting["p99"]["ratio_median_to_fork"], 1.0)
    at_most("queue-bytes-per-ended-job", sum(left.values()) - left["log"] - left["events"], 2048)
    at_most("queue-worker-peak-mb", peak, 100)


def at_least(name: str, measured: float, wanted: float) -> None:
    """A target that is met from there on."""
    verdict = "ok" if measured >= wanted else "missed"
    print(f"target {name} measured {measured:g} wanted >={wanted:g} {verdict}")


def at_most(name: str, measured: float, wanted: float) -> None:
    """A target that is met up to there."""
    verdict = "ok" if measured <= wanted else "missed"
    print(f"target {name} measured {measured:g} wanted <={wanted:g} {verdict}")


def note(text: str) -> None:
    """What goes on, beside the result."""
    print(text, file=sys.stderr)


if __name__ == "__main__":
    main()
