"""The journal: one append-only log on disk, with its segments, syncs, recovery and compaction.

It sees bytes and integers, never AMQP: what a record means is the business of its callers.
"""
