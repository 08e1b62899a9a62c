"""Seeded runs of a whole broker on a disk that fails, against a plain model of what must come out.

`stories` makes up a story, `world` is a broker with its disk, `model` says what has to happen,
`run` plays a story on both and compares, `shrink` finds the shortest story that still fails.
"""
