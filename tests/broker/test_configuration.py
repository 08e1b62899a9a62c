from pathlib import Path

import pytest

from leveret.broker import configuration
from leveret.broker.configuration import (
    Configuration,
    ConfigurationError,
    Permissions,
    User,
    load,
    parse,
)


def test_the_default_listens_on_loopback_only_as_rabbitmq_would_with_guest() -> None:
    default = Configuration()
    assert (default.listen.host, default.listen.port) == ("127.0.0.1", 5672)
    assert default.vhosts == ("/",)
    [guest] = default.users
    assert (guest.name, guest.password, guest.tags) == ("guest", "guest", ("administrator",))
    assert guest.permissions == {"/": Permissions(configure=".*", write=".*", read=".*")}
    assert guest.loopback_only


def test_an_empty_file_is_the_default() -> None:
    assert parse("") == Configuration()


def test_every_setting_can_be_read() -> None:
    read = parse(
        r"""
        vhosts = ["/", "orders"]
        shutdown_timeout_s = 1.5

        [listen]
        host = "::1"
        port = 0

        [identity]
        product = "leveret"
        version = "1"
        cluster_name = "c"

        [connection]
        heartbeat_s = 0
        channel_max = 10
        frame_max_bytes = 4096
        handshake_timeout_s = 1
        failed_login_delay_s = 0
        max_message_bytes = 1024

        [log]
        level = "debug"
        format = "json"

        [[users]]
        name = "shop"
        password = "secret"
        tags = ["monitoring"]
        loopback_only = true
        permissions."orders" = { configure = "", write = 'orders\..*', read = ".*" }
        """
    )
    assert read == Configuration(
        listen=configuration.Listen(host="::1", port=0),
        identity=configuration.Identity(product="leveret", version="1", cluster_name="c"),
        vhosts=("/", "orders"),
        users=(
            User(
                name="shop",
                password="secret",
                tags=("monitoring",),
                permissions={"orders": Permissions(configure="", write=r"orders\..*", read=".*")},
                loopback_only=True,
            ),
        ),
        connection=configuration.Connection(
            heartbeat_s=0,
            channel_max=10,
            frame_max_bytes=4096,
            handshake_timeout_s=1.0,
            failed_login_delay_s=0.0,
            max_message_bytes=1024,
        ),
        log=configuration.Log(level="debug", format="json"),
        shutdown_timeout_s=1.5,
    )


USER = '[[users]]\nname = "u"\npassword = "p"\n'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("port = 1", "port: unknown key, expected one of emulate, listen, identity, "),
        ("[listen]\nprot = 1", "listen.prot: unknown key, expected one of host, port"),
        ("[listen]\nport = '1'", "listen.port: expected int, got str"),
        ("[listen]\nport = 65536", "listen.port: expected int <= 65535"),
        ("[listen]\nport = -1", "listen.port: expected int >= 0"),
        ("[listen]\nhost = ''", "listen.host: expected str of length >= 1"),
        ("listen = 1", "listen: expected a table, got int"),
        ("vhosts = '/'", "vhosts: expected an array, got str"),
        ("vhosts = ['/', '/']", "vhosts[1]: expected distinct names, got '/' again"),
        ("vhosts = ['/', '" + 128 * "ü" + "']", "vhosts[1]: expected at most 255 bytes of UTF-8"),
        (
            "vhosts = ['a']",
            'users[0].permissions."/": expected one of vhosts (a) for user '
            "'guest'; list your own users",
        ),
        ("vhosts = []", 'users[0].permissions."/": expected one of vhosts (none)'),
        (
            "[connection]\nframe_max_bytes = 4095",
            "connection.frame_max_bytes: expected int >= 4096",
        ),
        ("[connection]\nchannel_max = 0", "connection.channel_max: expected int >= 1"),
        (
            "[connection]\nmax_message_bytes = 536870913",
            "connection.max_message_bytes: expected int <= 536870912",
        ),
        (
            "[connection]\nhandshake_timeout_s = nan",
            "connection.handshake_timeout_s: expected float > 0.0",
        ),
        ("shutdown_timeout_s = inf", "shutdown_timeout_s: expected float <= 3600.0"),
        (
            "[log]\nlevel = 'loud'",
            "log.level: expected one of debug, info, warning, error, got 'loud'",
        ),
        ("[log]\nformat = 'xml'", "log.format: expected one of text, json, got 'xml'"),
        ("[[users]]\nname = 'u'", "users[0].password: expected, but missing"),
        (USER + "tag = 1", "users[0].tag: unknown key, expected one of name, password, tags, "),
        (USER + USER, "users[1]: expected distinct names, got 'u' again"),
        (
            USER + 'permissions.b-1 = { configure = "", write = "", read = "" }',
            "users[0].permissions.b-1: expected one of vhosts (/) for user 'u'",
        ),
        (
            USER + 'permissions."/" = { configure = "", write = "", read = "(" }',
            'users[0].permissions."/".read: expected a regular expression: missing )',
        ),
        (
            USER + 'permissions."/" = { configure = "", write = "", reed = "" }',
            "users[0].permissions[...].reed: unknown key, expected one of configure, write, read",
        ),
        ("port == 1", "expected TOML: "),
    ],
)
def test_a_bad_value_is_named_with_what_was_expected(text: str, complaint: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse(text)
    assert str(caught.value).startswith(complaint)
    assert "\n" not in str(caught.value)


def test_an_error_begins_with_the_file_it_is_in(tmp_path: Path) -> None:
    file = tmp_path / "leveret.toml"
    file.write_text("[listen]\nport = 'x'")
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    assert str(caught.value) == f"{file}: listen.port: expected int, got str"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path / "none.toml")
    assert str(caught.value) == f"{tmp_path / 'none.toml'}: No such file or directory"


def test_a_file_that_is_not_utf_8_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "leveret.toml"
    file.write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match=r"leveret\.toml: expected UTF-8 text"):
        load(file)


def test_a_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "leveret.toml"
    file.write_text('identity.cluster_name = "ü"', encoding="utf-8")
    assert load(file).identity.cluster_name == "ü"


def test_override_replaces_only_what_is_given() -> None:
    read = parse("[listen]\nport = 1\n[log]\nformat = 'json'")
    changed = read.override(host="h", log_level="error")
    assert changed.listen == configuration.Listen(host="h", port=1)
    assert changed.log == configuration.Log(level="error", format="json")
    assert changed.override() == changed


def test_a_user_does_not_show_its_password() -> None:
    assert "secret" not in repr(User(name="u", password="secret"))
