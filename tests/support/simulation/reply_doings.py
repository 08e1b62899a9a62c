"""What clients do that want replies, and those that reply, for the broker and for the model."""

from pamqp.commands import Basic, Queue

from .exchange_doings import ExchangeDoings
from .messages import compose
from .queues import REPLY_TO

_NOBODY = f"{REPLY_TO}.nobody"


class ReplyDoings(ExchangeDoings):
    """One method for each action that is about direct replies alone."""

    def consume_replies(self, client: int, channel: int, no_ack: int, more: int) -> None:
        tag = f"c{self._next_tag()}"
        options = {"tag": tag, "no_ack": bool(no_ack)}
        consume = Basic.Consume(queue=REPLY_TO, consumer_tag=tag, no_ack=bool(no_ack))
        self._send(client, channel, more, "consume_replies", options, consume)

    def _address(self, pick: int) -> str:
        """One that somebody has been told, first of those that wait for replies, or nobody's."""
        replies = self._stage.model.replies
        living = replies.living.values()
        told = sorted(replies.seen, key=lambda each: each in living)
        return (told[-1 - pick].text if pick < len(told) else None) or _NOBODY

    def reply(
        self,
        client: int,
        channel: int,
        pick: int,
        mandatory: int,
        persistent: int,
        cc: int,
        bcc: int,
        size: int,
        more: int,
    ) -> None:
        sent, wire = compose(
            self._next_body(),
            "",
            self._address(pick),
            channel=channel,
            mandatory=bool(mandatory),
            persistent=bool(persistent),
            size=size,
            cc=cc,
            bcc=bcc,
        )
        options = {"exchange": "", "sent": sent, "mandatory": bool(mandatory)}
        self._send(client, channel, more, "publish", options, wire)

    def ask_after(self, client: int, channel: int, pick: int, passive: int, more: int) -> None:
        """Ask whether somebody waits for replies."""
        name = self._address(pick)
        declare = Queue.Declare(queue=name, passive=bool(passive))
        self._send(client, channel, more, "ask_after", {"address": name}, declare)
