"""The metrics worker: one Engine's container stats as Prometheus metrics, under the names that cAdvisor uses.

It needs the Engine's socket and nothing else: no Redis, no cgroup mounts, no privileges. Run exactly one
per Engine, for two would double every sum.
"""
