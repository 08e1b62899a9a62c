"""The AMQP 0-9-1 wire: frames, methods, content headers, field tables and reply codes.

Pure functions and values; no I/O and no state beyond a parse buffer. Nothing here knows what a
broker is, so the same code serves a server, a client in a test, or a tool that reads a capture.
"""
