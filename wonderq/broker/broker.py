"""The broker: all operations, each done by the collaborator that knows its concern.

| concern | module | operations |
|---|---|---|
| producing | `wonderq.broker.produce` | `produce`, `send`, `hand_over` |
| polls | `wonderq.broker.polls` | `claim`, `claim_from`, `deliver` |
| claims | `wonderq.broker.claims` | `remove_dead_letters` |
| finishing and claiming together | `wonderq.broker.finishing` | `next` |
| retention, deadlines, expired keys | `wonderq.broker.upkeep` | `upkeep` |
| deleting and updating | `wonderq.broker.changes` | `delete`, `delete_batch`, `update`, `update_batch`, `kick` |
| reading messages | `wonderq.broker.queries` | `get`, `messages`, `messages_of_all`, `count` |
| reading queues | `wonderq.broker.queries` | `settings_of`, `sqs_attributes`, `queue`, `queues`, `queue_stats` |
| use of the limits | `wonderq.broker.queries` | `usage` |
| queues | `wonderq.broker.queues` | `put_queue`, `create_queue`, `change_queue`, `drop_queue`, `purge` |
| redrives; moving single messages | `wonderq.broker.redrive`, `wonderq.broker.moves` | `redrives`, `move` |
| schedules | `wonderq.broker.schedules` | `schedules` |
| topics: subscribing, publishing | `wonderq.broker.topics`, `wonderq.broker.publish` | `topics` |
| deliveries to endpoints | `wonderq.broker.pushes` | `pushes` |
| messages to and from other shards of a cluster | `wonderq.broker.outboxes`, `wonderq.broker.crossings` | |
| endpoints that were unsubscribed | `wonderq.broker.notices` | `notices` |
| history, and figures of all queues | `wonderq.broker.history`, `wonderq.broker.overview` | `history`, `overview` |

`wonderq.broker.core` is the machinery that they share.
"""

from __future__ import annotations

from collections.abc import Callable

from wonderq.broker.changes import Changes
from wonderq.broker.claims import Claims
from wonderq.broker.core import Core, OtherShards
from wonderq.broker.crossings import Crossings
from wonderq.broker.finishing import Finisher
from wonderq.broker.history import History
from wonderq.broker.moves import Moves
from wonderq.broker.notices import Notices
from wonderq.broker.outboxes import Outboxes
from wonderq.broker.overview import Overview
from wonderq.broker.polls import Polls
from wonderq.broker.produce import Producer
from wonderq.broker.pushes import Pushes
from wonderq.broker.queries import Queries
from wonderq.broker.queues import Queues
from wonderq.broker.reader import Reader
from wonderq.broker.redrive import Redrives
from wonderq.broker.schedules import Schedules
from wonderq.broker.topics import Topics
from wonderq.broker.transfers import Transfers
from wonderq.broker.updates import Updates
from wonderq.broker.upkeep import Upkeep
from wonderq.model.limits import Limits
from wonderq.model.topics import EnvelopeWriter
from wonderq.runtime.clock import Clock
from wonderq_storage import Checkpoints, CorruptLogError, Log

#: Objects that the garbage collector examines for each queue, and for each group and priority of one.
_OBJECTS_OF_A_QUEUE, _OBJECTS_OF_A_GROUP = 40, 6

#: The same for each subscription, and for each filter that was compiled.
_OBJECTS_OF_A_SUBSCRIPTION, _OBJECTS_OF_A_FILTER = 4, 20


class Broker:
    """All queues of one log. You may call every method from any thread.

    Methods raise `BrokerError` for requests that they refuse, and the storage errors `DiskFullError` (nothing was
    changed), `LogFailedError` (the outcome is known after a restart) and `CorruptLogError`. The constructor raises what
    `Log.replay` and `Log.start` raise, and `UnreadableRecordError`.

    When another writer takes over the log, the broker ends: every call, and every consumer that waits, gets
    `LogLostError`. Close the broker then. The process may open the log again, and start another broker on it.
    """

    def __init__(
        self,
        log: Log,
        *,
        checkpoints: Checkpoints | None = None,
        clock: Clock | None = None,
        limits: Limits | None = None,
        create_queues: bool = True,
        default_queue: bool = True,
        has_name: Callable[[str], bool] = lambda _: True,
    ) -> None:
        """Replay ``log`` from the newest usable checkpoint.

        ``create_queues`` allows producers to create queues. ``default_queue`` creates the queue `default` if it does
        not exist: of several brokers that share the queues, one has it. ``has_name`` returns whether this broker has
        the queue, topic or schedule of a name.
        """
        self.core = Core(
            log,
            checkpoints=checkpoints,
            clock=clock,
            limits=limits,
            create_queues=create_queues,
            default_queue=default_queue,
            has_name=has_name,
        )
        self.limits = self.core.limits
        self.counters = self.core.counters
        self._reader = Reader(self.core)
        producer = Producer(self.core)
        transfers = Transfers(self.core, self._reader)
        self.claims = Claims(self.core, transfers)
        polls = Polls(self.core, self._reader, transfers, self.claims)
        updates = Updates(self.core, self._reader, transfers)
        changes = Changes(self.core, updates, transfers)
        finisher = Finisher(self.core, changes, updates, polls)
        self.queries = Queries(self.core, self._reader)
        self.redrives = Redrives(self.core, self._reader, transfers)
        self.move = Moves(self.core, self._reader, transfers).move
        queues = Queues(self.core, self.queries, self.redrives)

        # The operations are the collaborators' own methods, so each has one signature, one description and no extra
        # call.
        self.produce = producer.produce
        self.send = producer.send
        self.hand_over = producer.hand_over

        self.claim = polls.claim
        self.claim_from = polls.claim_from
        self.deliver = polls.deliver
        self.next = finisher.next
        self.upkeep = Upkeep(self.core).run
        self.remove_dead_letters = self.claims.remove_dead_letters

        self.delete = changes.delete
        self.delete_batch = changes.delete_batch
        self.update = changes.update
        self.update_batch = changes.update_batch
        self.kick = changes.kick

        self.get = self.queries.get
        self.messages = self.queries.messages
        self.messages_of_all = self.queries.messages_of_all
        self.count = self.queries.count
        self.settings_of = self.queries.settings_of
        self.sqs_attributes = self.queries.sqs_attributes
        self.has_name = self.core.has_name
        self.queue = self.queries.queue
        self.queue_names = self.queries.queue_names
        self.sources_of = self.queries.sources_of
        self.queues = self.queries.queues
        self.queue_stats = self.queries.queue_stats
        self.usage = self.queries.usage

        self.put_queue = queues.put_queue
        self.create_queue = queues.create_queue
        self.change_queue = queues.change_queue
        self.drop_queue = queues.drop_queue
        self.purge = queues.purge

        self.schedules = Schedules(self.core, producer)
        self.pushes = Pushes(self.core, self._reader, transfers, self.claims, changes)
        self.notices = Notices(self.core)
        self.topics = Topics(self.core, self.redrives, self.pushes, self.notices)
        self.outboxes = Outboxes(self.core, self._reader, self.redrives)
        self.crossings = Crossings(self.core)

        self.history = History(self.core)
        self.overview = Overview(self.core, self.history)

        self.locked = self.core.locked
        self.stop_claiming = self.core.stop_claiming
        self.review_clock = self.core.review_clock

    def use_envelopes(self, write: EnvelopeWriter) -> None:
        """Let ``write`` make the envelopes of published messages when they are delivered."""
        self._reader.write_envelope = write

    def reach(self, others: OtherShards) -> None:
        """Let messages cross to queues of other shards, about which ``others`` answers.

        Somebody has to send what is in the `outboxes`.
        """
        self.core.others = others

    @property
    def unready(self) -> str | None:
        """Reason why the broker takes no work, or None while it does."""
        return self.core.unready

    @property
    def warnings(self) -> list[str]:
        """Problems that an operator must solve while the broker works."""
        return [] if self.core.clock.problem is None else [self.core.clock.problem]

    @property
    def damage(self) -> CorruptLogError | None:
        """Damage that was found in the log, and has ended all work; None without any."""
        return self.core.transaction.damage

    @property
    def is_damaged(self) -> bool:
        """Whether damage was found in the log."""
        return self.damage is not None

    @property
    def waiting_consumers(self) -> int:
        """Number of consumers that wait for a message."""
        return len(self.core.consumers)

    @property
    def long_lived_objects(self) -> int:
        """About how many objects of queues, groups, topics and dedup entries the garbage collector examines."""
        state = self.core.state
        filters = sum(topic.filters for topic in list(state.topics.values()))
        holders = _OBJECTS_OF_A_QUEUE * len(state.queues) + _OBJECTS_OF_A_SUBSCRIPTION * state.subscriptions
        groups = _OBJECTS_OF_A_GROUP * state.lane_count.lanes
        return holders + groups + _OBJECTS_OF_A_FILTER * filters + 2 * state.dedup_entries

    @property
    def log_bytes(self) -> int:
        """Bytes of records after the checkpoint that the start loaded, replayed or appended since."""
        return self.core.log_bytes

    @property
    def checkpoint_lag_bytes(self) -> int:
        """Bytes of records after the newest checkpoint, which a start would have to replay."""
        return self.core.log_bytes - self.counters.checkpointed_bytes

    def mark_damaged(self, file: str, offset: int, reason: str) -> CorruptLogError:
        """Stop all work, because the log does not verify at this place; return the error to raise."""
        return self.core.mark_damaged(file, offset, reason)

    def close(self) -> None:
        """Stop delivering messages, make everything durable, and close the log."""
        self.core.stop_claiming()
        self.core.durability.close()
        self._reader.close()
        self.core.log.close()
