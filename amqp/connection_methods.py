"""The methods of connections, channels and access, declared as the others are in `methods`."""

from typing import NamedTuple

from .method_ids import method
from .wire_types import Bit, Long, LongStr, Octet, Short, ShortStr, Table

# --- connection -------------------------------------------------------------------------------


@method(10, 10)
class ConnectionStart(NamedTuple):
    version_major: Octet
    version_minor: Octet
    server_properties: Table
    mechanisms: LongStr
    locales: LongStr


@method(10, 11)
class ConnectionStartOk(NamedTuple):
    client_properties: Table
    mechanism: ShortStr
    response: LongStr
    locale: ShortStr


@method(10, 20)
class ConnectionSecure(NamedTuple):
    challenge: LongStr


@method(10, 21)
class ConnectionSecureOk(NamedTuple):
    response: LongStr


@method(10, 30)
class ConnectionTune(NamedTuple):
    channel_max: Short
    frame_max: Long
    heartbeat: Short


@method(10, 31)
class ConnectionTuneOk(NamedTuple):
    channel_max: Short
    frame_max: Long
    heartbeat: Short


@method(10, 40)
class ConnectionOpen(NamedTuple):
    virtual_host: ShortStr
    capabilities: ShortStr
    insist: Bit


@method(10, 41)
class ConnectionOpenOk(NamedTuple):
    known_hosts: ShortStr = ""


@method(10, 50)
class ConnectionClose(NamedTuple):
    reply_code: Short
    reply_text: ShortStr
    class_id: Short
    method_id: Short


@method(10, 51)
class ConnectionCloseOk(NamedTuple):
    pass


@method(10, 60)
class ConnectionBlocked(NamedTuple):
    reason: ShortStr


@method(10, 61)
class ConnectionUnblocked(NamedTuple):
    pass


@method(10, 70)
class ConnectionUpdateSecret(NamedTuple):
    new_secret: LongStr
    reason: ShortStr


@method(10, 71)
class ConnectionUpdateSecretOk(NamedTuple):
    pass


# --- channel ----------------------------------------------------------------------------------


@method(20, 10)
class ChannelOpen(NamedTuple):
    out_of_band: ShortStr = ""


@method(20, 11)
class ChannelOpenOk(NamedTuple):
    channel_id: LongStr = b""


@method(20, 20)
class ChannelFlow(NamedTuple):
    active: Bit


@method(20, 21)
class ChannelFlowOk(NamedTuple):
    active: Bit


@method(20, 40)
class ChannelClose(NamedTuple):
    reply_code: Short
    reply_text: ShortStr
    class_id: Short
    method_id: Short


@method(20, 41)
class ChannelCloseOk(NamedTuple):
    pass


@method(30, 10)
class AccessRequest(NamedTuple):
    realm: ShortStr
    exclusive: Bit
    passive: Bit
    active: Bit
    write: Bit
    read: Bit


@method(30, 11)
class AccessRequestOk(NamedTuple):
    ticket: Short = 1
