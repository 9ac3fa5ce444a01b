"""The metrics worker: one Engine's containers, and the bus, as Prometheus metrics.

    server        the page, and what is on it
    leadership    which of several metrics workers exports what
    collector     containers: measured in `sweep`, known from `inventory`, listed in `families`
    bus_collector the bus: read from Redis, listed in `bus_families`
    publisher     what goes the other way: stats for who asks, events about containers over their limits

It needs the Engine's socket only. Without Redis there is no bus to measure, and nobody to stand by for.
"""
