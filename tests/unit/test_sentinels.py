"""URLs of Sentinels: what they name, and which are none."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import SecretStr
from redis.connection import SSLConnection

from dockbus.connection import connect
from dockbus.errors import SettingsError
from dockbus.settings import RedisSettings, Settings


def pool(url: str, **redis: Any) -> Any:
    """The connections of a client for it; none is made."""
    settings = Settings(redis=RedisSettings(url=url, **redis))
    return connect(settings.redis_url).connection_pool


def sentinels(pool: Any) -> list[Any]:
    """The connections to each of them."""
    return [each.connection_pool for each in pool.connection_kwargs["find"].clients]


def addresses(pool: Any) -> list[tuple[str, int]]:
    asked = [each.connection_kwargs for each in sentinels(pool)]
    return [(each["host"], each["port"]) for each in asked]


def test_all_sentinels_and_the_name_of_the_primary_are_taken_from_the_url() -> None:
    found = pool("redis+sentinel://one:26380,two,[::1]:26381/shop/3")

    assert addresses(found) == [("one", 26380), ("two", 26379), ("::1", 26381)]
    assert found.connection_kwargs["find"].name == "shop"
    assert found.connection_kwargs["db"] == 3


def test_redis_and_sentinels_have_a_login_each() -> None:
    found = pool("redis+sentinel://us:p%40ss@one/shop?sentinel_username=s&sentinel_password=g")
    sentinel = sentinels(found)[0].connection_kwargs

    assert (found.connection_kwargs["username"], found.connection_kwargs["password"]) == (
        "us",
        "p@ss",
    )
    assert (sentinel["username"], sentinel["password"]) == ("s", "g")


def test_the_password_may_come_from_a_setting_of_its_own() -> None:
    found = pool("redis+sentinel://one,two:1/shop", password=SecretStr("p@:/ss"))

    assert found.connection_kwargs["password"] == "p@:/ss"
    assert addresses(found) == [("one", 26379), ("two", 1)]


def test_tls_is_for_redis_and_sentinels() -> None:
    found = pool("rediss+sentinel://one/shop?ssl_ca_certs=/ca.pem&ssl_certfile=/c.pem")
    sentinel = sentinels(found)[0]

    assert issubclass(found.connection_class, SSLConnection)
    assert issubclass(sentinel.connection_class, SSLConnection)
    for kwargs in (found.connection_kwargs, sentinel.connection_kwargs):
        assert (kwargs["ssl_ca_certs"], kwargs["ssl_certfile"]) == ("/ca.pem", "/c.pem")


def test_without_tls_there_is_none() -> None:
    found = pool("redis+sentinel://one/shop")

    assert not issubclass(found.connection_class, SSLConnection)


@pytest.mark.parametrize(
    "url",
    [
        "redis+sentinel://one",
        "redis+sentinel:///shop",
        "redis+sentinel://one,/shop",
        "redis+sentinel://one:port/shop",
        "sentinel://one/shop",
    ],
)
def test_a_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match="DOCKBUS_REDIS_URL"):
        connect(url)
