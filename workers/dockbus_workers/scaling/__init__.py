"""The autoscaler: as many workers of each service as its jobs need, between a least and a most.

    services    what people write: which services, how many, how soon
    decide      how many there should be, from what is observed; pure
    load        what Redis knows of queues and workers
    fleet       the workers of a service, as `compose` (a project's containers) and `swarm` (a service's tasks) have them
    leaving     containers that are being stopped and removed
    controller  the loop: look, decide, act
    news        what is told of it
    metrics     what it measures of itself
    program     all of it as a process, of which one leads

Everything is looked at anew in each round and nothing follows from what an earlier one did, so a scaler may die at any
moment and another goes on. It needs the Engine's socket and Redis.
"""
