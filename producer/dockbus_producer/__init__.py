"""What puts jobs and events on the bus: the HTTP API, the Docker-event producer and its rules.

Everything here stands on `dockbus.Bus`; nothing here knows the workers, who may run on other hosts.
"""
