"""The broker: virtual hosts, exchanges, bindings, queues and consumers, and the sessions on them.

Model and sessions are synchronous state machines fed with bytes, calls and the current time. Only
the edge (server, transport, command line, configuration, log) knows sockets, clocks and Trio.
"""

__version__ = "0.1.0"
