"""The bus over HTTP, for programs in any language: the same verbs and names as `dockbus.Bus`.

Only this package knows FastAPI and uvicorn. A router holds no logic: what a request means is decided by the
Bus, and what an error looks like by `problems`.
"""
