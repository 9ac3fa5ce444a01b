"""The `dockbus` command: the same verbs as `dockbus.Bus`, for people and scripts. No library code imports it."""
