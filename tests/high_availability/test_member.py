"""The rules by which a process takes over the log that it shares with others."""

from __future__ import annotations

import json
import random

import pytest

from tests.support.threads import Call
from wonderq.ownership.announcements import ROLES, Announcement, Role, decode
from wonderq.ownership.member import Hearing, Member
from wonderq.ownership.neighbours import Neighbours, clock_ahead_ms
from wonderq_storage import CorruptLogError, LogClosedError, LogLostError, Reached

LOG = b"\x01\x02"
NEW = Reached(None, 0, 0)
STEP_S = 0.1


class World:
    """Time, the wall clock of one process, and its connection."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.ahead_ms = 0
        self.server_ahead_ms: int | None = 0
        """By how much the clock of the process is ahead of that of the server."""
        self.connected_since_s: float | None = self.now_s

    def true_ms(self) -> int:
        return round(self.now_s * 1000)

    def time_ms(self) -> int:
        return self.true_ms() + self.ahead_ms

    def hearing(self) -> Hearing:
        since_s = self.connected_since_s
        return Hearing(0.0 if since_s is None else self.now_s - since_s, self.server_ahead_ms)

    def member(self) -> Member:
        return Member("b:1", self.hearing, now_s=lambda: self.now_s, time_ms=self.time_ms)


def said(
    world: World, role: Role = "owner", epoch: int = 1, sequence: int = 5, token: str = "a", ahead_ms: int = 0
) -> bytes:
    return Announcement(f"{token}:1", token, role, epoch, LOG.hex(), sequence, world.true_ms() + ahead_ms).encode()


def wants(member: Member) -> bool:
    with member._changed:
        return member._may_take_over()


def live(world: World, member: Member, seconds: float, *talking: tuple[Role, int]) -> float | None:
    """Let time pass while others announce their roles and epochs; return after how many seconds the process wants the log."""
    for count in range(1, round(seconds / STEP_S) + 1):
        world.now_s += STEP_S
        for number, (role, epoch) in enumerate(talking):
            member.hear(said(world, role, epoch, token=f"a{number}"))
        if wants(member):
            return count * STEP_S
    return None


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def member(world: World) -> Member:
    return world.member()


def test_without_others_a_process_listens_for_a_second(world: World, member: Member) -> None:
    assert live(world, member, 5) == pytest.approx(1.0)


def test_an_owner_that_is_heard_keeps_the_log(world: World, member: Member) -> None:
    assert live(world, member, 60, ("owner", 1)) is None
    assert member.owner is not None
    assert member.owner.node == "a0:1"


def test_an_owner_that_falls_silent_is_taken_for_dead(world: World, member: Member) -> None:
    live(world, member, 5, ("owner", 1))
    assert live(world, member, 5) == pytest.approx(1.0)


def test_an_owner_that_ended_in_order_is_followed_at_once(world: World, member: Member) -> None:
    live(world, member, 5, ("owner", 3))
    member.hear(said(world, "released", 3, token="a0"))
    assert wants(member)


def test_a_release_counts_only_for_the_newest_epoch(world: World, member: Member) -> None:
    member.hear(said(world, "standing_by", 4, token="c"))  # the owner itself is not heard yet
    member.hear(said(world, "released", 3, token="late"))
    assert live(world, member, 5) == pytest.approx(1.0)


def test_an_owner_that_does_not_know_of_its_successor_is_no_owner(world: World, member: Member) -> None:
    live(world, member, 5, ("owner", 2), ("owner", 3))
    assert member.owner is not None
    assert member.owner.epoch == 3
    assert live(world, member, 5, ("owner", 2)) == pytest.approx(1.0), "the newer one fell silent"


def test_the_epoch_in_the_log_counts_as_well(world: World, member: Member) -> None:
    live(world, member, 2, ("owner", 2))
    call = Call(member.wait, Reached(LOG, 3, 5))  # the log has a newer epoch than the frozen owner
    assert call.result() is None


def test_a_process_without_a_connection_hears_nobody(world: World, member: Member) -> None:
    live(world, member, 5, ("owner", 1))
    world.connected_since_s = None
    assert live(world, member, 5) is None
    world.connected_since_s = world.now_s
    assert live(world, member, 5) == pytest.approx(1.0)


def test_a_process_that_was_frozen_itself_listens_again(world: World, member: Member) -> None:
    live(world, member, 5, ("owner", 1))
    world.now_s += 3
    assert not wants(member)
    assert live(world, member, 5, ("owner", 1)) is None


@pytest.mark.parametrize("pause_s", [0.6, 1.5])
def test_a_process_that_is_paused_again_and_again_takes_over_nevertheless(
    world: World, member: Member, pause_s: float
) -> None:
    """A busy machine may let it work for moments only, less often than it should review."""
    live(world, member, 5, ("owner", 1))
    for _ in range(5):
        world.now_s += pause_s
        if wants(member):
            return
    pytest.fail("nobody would ever take the log over")


def test_a_process_that_is_paused_again_and_again_leaves_an_owner_alone_that_it_hears(
    world: World, member: Member
) -> None:
    live(world, member, 5, ("owner", 1))
    for _ in range(50):
        world.now_s += 0.6
        member.hear(said(world, "owner", 1, token="a0"))
        assert not wants(member)


@pytest.mark.parametrize(("ahead_ms", "may"), [(-251, False), (-250, True), (0, True), (250, True), (251, False)])
def test_a_clock_that_is_off_takes_nothing_over(world: World, member: Member, ahead_ms: int, may: bool) -> None:
    world.server_ahead_ms = ahead_ms
    assert (live(world, member, 5) is not None) == may
    assert (member.obstacle is None) == may
    if not may:
        assert f"0.3 s {'ahead of' if ahead_ms > 0 else 'behind'} the others" in str(member.obstacle)


def test_a_clock_that_is_not_compared_yet_takes_nothing_over(world: World, member: Member) -> None:
    world.server_ahead_ms = None
    assert live(world, member, 5) is None
    assert member.obstacle is None


def test_the_median_of_the_clocks_is_right(world: World, member: Member) -> None:
    world.server_ahead_ms = 10_000  # the server is wrong, and the others agree with this process
    assert live(world, member, 3, ("standing_by", 0)) == pytest.approx(1.0)
    world.ahead_ms = 10_000  # now it is this process
    assert live(world, member, 3, ("standing_by", 0), ("standing_by", 0)) is None


@pytest.mark.parametrize(
    ("of_others", "ahead_ms"),
    [([300], 300), ([300, 0], 0), ([300, 300], 300), ([0, 0, 900], 0), ([-5, 900, 900], 450), ([9, 9, 9], 9)],
)
def test_the_median_of_clocks(of_others: list[int], ahead_ms: int) -> None:
    assert clock_ahead_ms(of_others) == ahead_ms


def test_a_slow_announcement_does_not_look_like_a_wrong_clock(world: World) -> None:
    neighbours = Neighbours()
    for delay_ms in (900, 3, 700):
        neighbours.hear(Announcement("a", "t", "owner", 1, "", 0, 5000), world.now_s, 5000 + delay_ms)
    assert neighbours.clocks_ahead_ms(world.now_s) == [3]


def test_who_lost_the_log_leaves_it_to_the_others_for_ten_seconds(world: World, member: Member) -> None:
    member.claimed(7)
    live(world, member, 2, ("standing_by", 7))
    member.lose()
    assert live(world, member, 30, ("standing_by", 8)) == pytest.approx(10.0, abs=0.2)


def test_who_lost_the_log_takes_it_if_there_is_nobody_else(world: World, member: Member) -> None:
    member.claimed(7)
    live(world, member, 2, ("standing_by", 7))
    member.lose()
    assert live(world, member, 30) == pytest.approx(1.0, abs=0.2)


def test_who_was_not_fast_enough_pauses(
    world: World, member: Member, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses = []
    monkeypatch.setattr(random, "uniform", lambda low, high: pauses.append((low, high)) or high)
    live(world, member, 2)
    with caplog.at_level("INFO"):
        member.beaten(LogLostError("another was faster."))
    assert caplog.messages == ["another was faster. This process goes on standing by"]
    assert pauses == [(0.1, 1.0)]
    assert live(world, member, 5) == pytest.approx(1.0)


def test_an_owner_hears_that_it_is_deposed(world: World, member: Member) -> None:
    member.claimed(2)
    assert not member.is_deposed
    member.hear(said(world, "standing_by", 2))
    assert not member.is_deposed
    member.hear(said(world, "standing_by", 3, token="c"))
    assert member.is_deposed, "any process that knows of the newer epoch tells"


def test_a_process_tells_the_newest_epoch_that_it_knows_of(world: World, member: Member) -> None:
    member.hear(said(world, "owner", 4))
    told = Announcement("b:1", member._token, "standing_by", 4, LOG.hex(), 5, world.true_ms())
    assert decode(member.announcement()) == told
    member.claimed(5)
    member.acknowledge(LOG, 12)
    member.hear(said(world, "owner", 6))
    found = decode(member.announcement())
    assert found is not None
    assert found[2:6] == ("owner", 5, LOG.hex(), 12)
    member.release()
    found = decode(member.announcement())
    assert found is not None
    assert found[2:6] == ("released", 5, LOG.hex(), 12)


@pytest.mark.parametrize("is_damaged", [False, True])
def test_an_owner_that_restarts_learns_what_must_be_there(world: World, member: Member, is_damaged: bool) -> None:
    """The stream may have lost messages that the former process of this owner had acknowledged."""
    member.hear(said(world, sequence=1000))
    if is_damaged:
        member.close(is_final=True)
    restarted = world.member()
    restarted.hear(member.announcement())
    assert restarted.known_sequence(LOG) == 1000
    assert restarted.epoch == 1


def test_a_former_owner_tells_the_newest_message_that_it_has_heard_of(world: World, member: Member) -> None:
    member.claimed(1)
    member.acknowledge(LOG, 4)
    member.lose()
    member.hear(said(world, epoch=2, sequence=9))
    found = decode(member.announcement())
    assert found is not None
    assert found[2:6] == ("standing_by", 2, LOG.hex(), 9)


def test_only_an_owner_releases(member: Member) -> None:
    member.release()
    found = decode(member.announcement())
    assert found is not None
    assert found.role == "standing_by"


def test_who_stands_by_anew_has_the_log_to_read_again(world: World, member: Member) -> None:
    assert not member.has_read
    member.hear(said(world, sequence=9))
    for begin_again in (member.lose, member.stand_by):
        member.wait(Reached(LOG, 1, 8))
        assert member.has_read, "also if there is more by now"
        begin_again()
        assert not member.has_read


def test_more_to_read_is_read_first(world: World, member: Member) -> None:
    member.hear(said(world, sequence=9))
    assert member.wait(Reached(LOG, 1, 8)) == 9
    assert member.known_sequence(LOG) == 9
    assert member.known_sequence(b"other") == member.known_sequence(None) == 0


def test_a_log_that_others_have_begun_is_read_although_the_stream_was_empty(world: World, member: Member) -> None:
    live(world, member, 2, ("standing_by", 1))
    assert member.wait(NEW) == 5


def test_a_log_that_is_not_the_one_that_others_know_is_damage(world: World, member: Member) -> None:
    """Servers that lost a whole stream begin a new one, which ends before nothing that is known of it."""
    live(world, member, 2, ("standing_by", 1))
    with pytest.raises(CorruptLogError, match=f"the log {LOG.hex()} was here, with 5 acknowledged messages"):
        member.wait(Reached(b"another", 1, 20))


def test_what_was_acknowledged_is_never_forgotten(world: World, member: Member) -> None:
    member.hear(said(world, sequence=9))
    member.hear(said(world, sequence=3, token="c"))
    member.acknowledge(LOG, 4)
    assert member.known_sequence(LOG) == 9


def test_the_end_of_the_process_ends_the_wait(world: World, member: Member) -> None:
    member.hear(said(world))
    call = Call(member.wait, Reached(LOG, 1, 5))
    member.close()
    with pytest.raises(LogClosedError):
        call.result()


def test_a_process_does_not_hear_itself(world: World, member: Member) -> None:
    member.claimed(3)
    own = member.announcement()
    member.lose()
    member.hear(own)
    assert member.owner is None


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b"\xff",
        b'{"node": "a"}',
        *(
            Announcement("a", "t", "owner", 1, "", 1, 1)._replace(**change).encode()
            for change in (
                {"node": 3},
                {"token": "x" * 129},
                {"role": 3},
                {"role": "x" * 129},
                {"epoch": -1},
                {"epoch": 1 << 63},
                {"epoch": True},
                {"sequence": "9"},
                {"time_ms": 1.5},
            )
        ),
    ],
)
def test_nonsense_is_not_heard(world: World, member: Member, data: bytes) -> None:
    assert decode(data) is None
    member.hear(data)
    assert live(world, member, 5) == pytest.approx(1.0)


def test_an_owner_of_a_newer_version_is_heard(world: World, member: Member) -> None:
    """Or a process that stands by takes the log from it."""
    for _ in range(30):
        world.now_s += STEP_S
        member.hear(json.dumps({**json.loads(said(world)), "version": "9", "more": {"a": [1]}}).encode())
        assert not wants(member)
    assert member.owner is not None
    assert member.owner.node == "a:1"


def test_a_role_of_a_newer_version_is_that_of_a_process_that_takes_nothing_over(world: World, member: Member) -> None:
    found = decode(json.dumps({**json.loads(said(world, epoch=7)), "role": "archiving"}).encode())
    assert found is not None
    assert (found.role, found.epoch) == ("unable", 7)
    member.hear(found.encode())
    assert (member.epoch, member.owner, member.heard) == (7, None, [("a:1", "unable")])


@pytest.mark.parametrize("role", sorted(ROLES))
def test_an_announcement_comes_back(world: World, role: Role) -> None:
    found = decode(said(world, role))
    assert found is not None
    assert found.encode() == said(world, role)


def test_what_is_remembered_of_many_is_bounded(world: World) -> None:
    neighbours = Neighbours()
    for number in range(200):
        neighbours.hear(Announcement("a", f"t{number}", "standing_by", 0, f"{number:x}", 1, 0), world.now_s + number, 0)
    assert len(neighbours._by_token) == len(neighbours._known) == 64
    assert neighbours.known_sequence(f"{199:x}") == 1
