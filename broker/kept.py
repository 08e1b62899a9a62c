"""What the journal tells, after a restart, of the messages of one queue."""

from array import array
from collections.abc import Container, Mapping
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from ..storage.opening import Recovered


class Kept(NamedTuple):
    """The ids of a queue's messages in the order in which they were stored, and what is known of
    them without reading them.

    Those in `delivered` may have been delivered before. `by_rank` has all of them by their ranks (0
    for none), of which only those from the id `ranked_from` on tell the priority: see `ranks`.
    `notes` are what the queue has noted of some.
    """

    ids: "array[int]"
    delivered: Container[int]
    by_rank: "Mapping[int, array[int]]"
    ranked_from: int
    notes: Mapping[int, bytes]


def kept_messages(recovered: "Recovered", number: int, ranked_from: int) -> Kept | None:
    """Those of the queue with that number; None if it has none."""
    ids = recovered.messages.get(number)
    if not ids:
        return None
    notes = recovered.notes.get(number, {})
    delivered: Container[int] = {*recovered.deliveries.get(number, ()), *notes}
    if not recovered.clean:
        # Any of them may have been delivered; those that come later were not.
        delivered = range(ids[-1] + 1)
    return Kept(ids, delivered, recovered.ranked.get(number, {0: ids}), ranked_from, notes)
