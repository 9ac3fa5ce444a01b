"""Actions: what is done to one container that is there, whoever made it: restart, stop, start, remove, exec.

An order may be older than what it is about. So an action can be bound to one life of its container (`started`) and to
a condition (`only_if`), which are held against a fresh look at it right before. Where they do not hold, nothing is
done, and that is a success: the result says `done: false` and why.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, AwareDatetime, Field, model_validator

from dockbus.expressions import NAMES, Condition, Expression
from dockbus.jobs.base import Kind, ResultModel, SecretName, SpecModel
from dockbus.jobs.running.container import Environment, Signal, UserName
from dockbus.jobs.running.parts import ContainerPath, Variable, Word
from dockbus.units import Seconds

Target = Annotated[
    str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,127}$", examples=["shop-web-1"])
]
"""The name of a container, or its ID: all of it, or the first twelve digits or more. Names may be short."""


def _of_a_container(text: str) -> str:
    Expression.parse(text, {name: NAMES[name] for name in ("container", "now")})
    return text


class Action(SpecModel):
    """What every action has."""

    container: Target
    """Name of the container, or its ID (twelve digits at least). The Engine is a matter of the order: name it as `engine`
    where the bus has several."""
    only_if: Annotated[Condition, AfterValidator(_of_a_container)] | None = None
    """Condition in CEL, asked of a fresh look at the `container` (and of `now`) right before, such as `container.health == 'unhealthy'`."""
    started: AwareDatetime | None = None
    """Act only as long as the container runs, or has last run, since this very moment (to the microsecond)."""


class Ending(Action):
    """What an action has that ends a container's life."""

    timeout: Seconds | None = Field(default=None, ge=0, le=24 * 3600)
    """Seconds between the stop signal and the kill. Default: what the container was made with, or else 10."""
    signal: Signal | None = None
    """Signal that asks it to stop, on Engines since Docker 23. Default: the container's own."""


class Restart(Ending):
    """Stop a container, where it runs, and start it again."""

    kind: Literal[Kind.RESTART] = Kind.RESTART


class Stop(Ending):
    """Stop a container."""

    kind: Literal[Kind.STOP] = Kind.STOP


class Start(Action):
    """Start a container that does not run."""

    kind: Literal[Kind.START] = Kind.START


class Remove(Action):
    """Remove a container."""

    kind: Literal[Kind.REMOVE] = Kind.REMOVE
    force: bool = False
    """Kill it first, where it runs. Default: one that runs stays, and the job fails."""
    volumes: bool = False
    """Remove its anonymous volumes as well."""


class Exec(Action):
    """Run a command in a container that runs. It is begun once at most, however often the job is tried."""

    kind: Literal[Kind.EXEC] = Kind.EXEC
    command: list[Word] = Field(min_length=1)
    """Program and arguments; no shell reads them."""
    user: UserName | None = None
    """User, or `uid:gid`, the command runs as. Default: the container's."""
    working_dir: ContainerPath | None = None
    """Folder it starts in. Default: the container's."""
    env: Environment = {}
    """Environment variables, beside the container's."""
    env_from: dict[Variable, SecretName] = {}
    """Variables whose values are secrets of the worker."""

    @model_validator(mode="after")
    def _env_fits(self) -> Self:
        if twice := set(self.env) & set(self.env_from):
            raise ValueError(f"env_from: {min(twice)} is in env, too")
        return self


class NotDone(StrEnum):
    """Why nothing was done."""

    GONE = "gone"
    """There is no such container."""
    OTHER_LIFE = "other-life"
    """It has been started since `started`, or had not been."""
    CONDITION = "condition"
    """`only_if` does not hold."""
    RUNNING = "running"
    """It runs already."""
    STOPPED = "stopped"
    """It does not run, as it is."""


class ActionResult(ResultModel):
    """What has become of a container."""

    done: bool
    """Whether the job has done what it was to do."""
    reason: NotDone | None = None
    """Why not, where it has not."""
    container_id: str | None = None
    """The container's full ID; None where it was gone."""
    state: str | None = None
    """Its state afterwards, such as `running` or `exited`; None where it is gone."""
    started: AwareDatetime | None = None
    """When it was last started, as that was afterwards."""


class RestartResult(ActionResult):
    """Whether the container was restarted."""

    kind: Literal[Kind.RESTART] = Kind.RESTART


class StopResult(ActionResult):
    """Whether the container was stopped."""

    kind: Literal[Kind.STOP] = Kind.STOP


class StartResult(ActionResult):
    """Whether the container was started."""

    kind: Literal[Kind.START] = Kind.START


class RemoveResult(ActionResult):
    """Whether the container was removed."""

    kind: Literal[Kind.REMOVE] = Kind.REMOVE


class ExecResult(ActionResult):
    """How the command ended."""

    kind: Literal[Kind.EXEC] = Kind.EXEC
    exit_code: int | None = None
    """What it returned; None where it was not run."""
    duration: float = 0.0
    """Seconds from its begin, or from when a further attempt found it, to its end."""
