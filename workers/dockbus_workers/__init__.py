"""The workers of dockbus: they take jobs from Redis queues and carry them out against a Docker Engine."""
