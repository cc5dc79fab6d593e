"""The faults. Each comes while clients work on the owner, and leaves an owner that answers."""

from __future__ import annotations

import time
from functools import partial

from tests.log_faults.crew import TIMEOUT_S, knows_that_it_is_full, knows_that_it_is_lost
from tests.log_faults.machines import Machine
from tests.log_faults.run import CHECKPOINTS_LEFT, Fault, FaultRun, Owner
from tests.support.history.calls import DISK_FULL
from tests.support.queue_client import QueueClient
from wonderq.client.errors import Refused

_WRONG_CLOCK_MS = 600_000

#: A server that is not whole after this time never will be.
_COMEBACK_S = 30.0

_WRITES_TO_A_FULL_DISK = 20

#: Batches that fill a stream, in a queue that no other client uses.
_FILLER, _LARGE, _SMALL = "filler", ["x" * 100_000] * 4, ["x" * 1000]


# Owners


def owner_is_killed(run: FaultRun, clock_ms: int = 0) -> None:
    """Kill the owner. Now and then, kill the next one while it starts, too."""
    former = run.owner
    run.begin_outage()
    former.process.kill()
    if run.random.random() < 0.25:
        starting = run.spawn()
        time.sleep(run.random.uniform(0, 1.5))
        starting.kill()
    _follow(run, former, clock_ms=clock_ms)


def _follow(run: FaultRun, former: Owner, *, clock_ms: int = 0) -> None:
    """Start the next owner after the end of the one before."""
    run.owner = run.start_owner(clock_ms=clock_ms)
    run.leave(former)
    run.end_outage()
    run.work(run.owner)


def owner_is_frozen(run: FaultRun) -> None:
    """Freeze the owner in the middle of its work, and let it go on when another one has the log."""
    former = run.owner
    run.begin_outage()
    former.process.freeze()
    _take_over(run)
    former.process.thaw()
    _wait_until_fenced(run, former)


def _take_over(run: FaultRun) -> None:
    """Start an owner beside a living one, and let clients work on it."""
    run.owner = run.start_owner(run.elsewhere(run.owner))
    run.work(run.owner)
    run.progress(run.owner)


def _wait_until_fenced(run: FaultRun, former: Owner) -> None:
    """Wait until a former owner tells its clients that it has lost the log."""
    traffic = former.traffic
    assert traffic is not None
    run.wait_for(lambda: traffic.failures or knows_that_it_is_lost(traffic), "the former owner to notice")
    run.leave(former)
    run.end_outage()


def rival_takes_over(run: FaultRun) -> None:
    """Take the log from an owner that works."""
    former = run.owner
    run.begin_outage()
    _take_over(run)
    _wait_until_fenced(run, former)


def rival_takes_over_from_an_idle_owner(run: FaultRun) -> None:
    """Take the log from an owner that has nothing to do, and is asked before it can know of it."""
    former = run.owner
    run.rest(former)
    run.begin_outage()
    former.process.freeze()
    _take_over(run)
    run.question(former)
    run.work(former)
    _wait_until_fenced(run, former)


# Servers


def leader_is_killed(run: FaultRun) -> None:
    _kill_and_start(run, run.leader())


def follower_is_killed(run: FaultRun) -> None:
    _kill_and_start(run, run.random.choice(run.machines.others(run.leader())))


def _kill_and_start(run: FaultRun, machine: Machine) -> None:
    machine.kill()
    run.progress(run.owner)
    machine.start()


def leader_is_frozen(run: FaultRun) -> None:
    leader = run.leader()
    leader.freeze()
    run.progress(run.owner)
    leader.thaw()


def all_servers_are_killed(run: FaultRun) -> None:
    for each in run.machines.all:
        each.kill()
    for each in run.machines.all:
        each.start()
    run.progress(run.owner)


# Networks


def owner_is_cut_off(run: FaultRun, *, outgoing: bool = True, incoming: bool = True) -> None:
    """Cut the owner's machine, with its server, off from the others; heal that when another machine has the log."""
    former = run.owner
    run.begin_outage()
    run.machines.cut_off(former.machine, outgoing=outgoing, incoming=incoming)
    try:
        _take_over(run)
    finally:
        run.machines.heal(former.machine, outgoing=outgoing, incoming=incoming)
    _wait_until_fenced(run, former)


def server_loses_its_routes(run: FaultRun) -> None:
    """Cut the server of the owner off from the other servers only: the owner has to leave it for another one."""
    host = run.owner.process.connected_to
    machine = next(each for each in run.machines.all if each.host == host)
    run.machines.block_routes(machine)
    try:
        run.progress(run.owner)
    finally:
        run.machines.unblock_routes(machine)


# Disks


def stream_is_full(run: FaultRun) -> None:
    """Fill the stream up to its `max_bytes`; now and then, kill the owner in a full stream. Then make room."""
    began_s = time.monotonic()
    run.history.disk_full.append((began_s, float("inf")))
    traffic = run.owner.traffic
    assert traffic is not None
    with QueueClient(run.owner.url, queue=_FILLER, timeout=TIMEOUT_S) as client:
        _fill(client, _LARGE)
        # Compaction makes some room all the time, so the clients are not refused at once.
        run.wait_for(lambda: _fill(client, _SMALL) or knows_that_it_is_full(traffic), "a client to be refused")
    run.progress(run.owner)
    if run.random.random() < 0.5:
        owner_is_killed(run)
    with QueueClient(run.owner.url, queue=_FILLER, timeout=TIMEOUT_S) as client:
        client.drop_queue()
        run.wait_for(lambda: _has_room(client, _LARGE), "room in the stream")
        client.drop_queue()
    run.history.disk_full[-1] = (began_s, time.monotonic())


def _fill(client: QueueClient, bodies: list[str]) -> None:
    while _has_room(client, bodies):
        pass


def _has_room(client: QueueClient, bodies: list[str]) -> bool:
    """Send a batch; return whether there was room for it."""
    try:
        client.produce_batch(bodies)
    except Refused as error:
        if error.code != DISK_FULL:
            raise
        return False
    return True


def disk_of_a_server_is_full(run: FaultRun) -> None:
    """Fill the file system under one server, and append more than it can still have room for."""
    machine = run.random.choice(run.machines.all)
    machine.fill()
    with QueueClient(run.owner.url, queue=_FILLER, timeout=TIMEOUT_S) as client:
        for _ in range(_WRITES_TO_A_FULL_DISK):
            run.demand(_has_room(client, _LARGE), "the stream has no room, though only one disk is full")
        client.drop_queue()
    run.progress(run.owner)
    machine.make_room()
    machine.kill()
    machine.start()


def bit_flips(run: FaultRun) -> None:
    """Flip a bit in the files of one server while it is down, and let it lead then."""
    machine = run.random.choice(run.machines.all)
    machine.kill()
    run.progress(run.owner)
    place = machine.flip_a_bit(run.random)
    machine.start()
    stays_out = _stays_out(run, machine)
    run.say(f"flipped {place}" + (": the server stays out, and is set up anew" if stays_out else ""))
    if stays_out:
        machine.kill()
        machine.wipe()
        machine.start()
    _let_lead(run, machine)


def _stays_out(run: FaultRun, machine: Machine) -> bool:
    """Return whether a server does not come back: it refuses damaged files of its Raft groups, or never catches up.

    Then a person has to remove its files, so that it gets them from the others.
    """
    try:
        run.wait_until_whole(lambda: machine.has_ended, patience_s=_COMEBACK_S)
        if not machine.has_ended:
            run.make_leader(machine, patience_s=_COMEBACK_S)  # one that stalls may be called current before
    except AssertionError:
        return True
    return machine.has_ended


def folder_is_wiped(run: FaultRun) -> None:
    """Remove all files of one server while it is down, and let it lead then."""
    machine = run.random.choice(run.machines.all)
    machine.kill()
    run.progress(run.owner)
    machine.wipe()
    machine.start()
    _let_lead(run, machine)


def _let_lead(run: FaultRun, machine: Machine) -> None:
    """Make a server the leader of the stream, and let another owner read from it."""
    run.make_leader(machine)
    owner_is_killed(run)


def power_fails(run: FaultRun) -> None:
    """Cut the power of all machines at once, with all servers and the owner.

    The processes are killed just before: a sync that is under way when a file system is shut down may return as if it had
    succeeded. Now and then the next owner starts only when the checkpoints can be reached: it does not wait for them.
    """
    former = run.owner
    streams = run.streams()
    run.begin_outage()
    former.process.kill()
    for each in run.machines.all:
        each.kill()
    for each in run.machines.all:
        each.cut_power()
    for each in run.machines.all:
        each.regain_power()
    if run.random.random() < 0.5:
        for stream in streams:
            run.leader(stream)
    _follow(run, former)
    run.mechanisms.counts[CHECKPOINTS_LEFT] += run.owner.process.had_checkpoint


FAULTS = {
    "owner killed": Fault(owner_is_killed),
    "owner frozen": Fault(owner_is_frozen),
    "log of a busy owner taken": Fault(rival_takes_over),
    "log of an idle owner taken": Fault(rival_takes_over_from_an_idle_owner),
    "leader killed": Fault(leader_is_killed),
    "leader frozen": Fault(leader_is_frozen),
    "follower killed": Fault(follower_is_killed),
    "all servers killed": Fault(all_servers_are_killed),
    "owner cut off": Fault(owner_is_cut_off, apart=True),
    "owner cannot send": Fault(partial(owner_is_cut_off, incoming=False), apart=True),
    "owner cannot receive": Fault(partial(owner_is_cut_off, outgoing=False), apart=True),
    "server of the owner loses its routes": Fault(server_loses_its_routes, apart=True),
    "stream full": Fault(stream_is_full),
    "disk of a server full": Fault(disk_of_a_server_is_full, apart=True),
    "next clock ten minutes ahead": Fault(partial(owner_is_killed, clock_ms=_WRONG_CLOCK_MS)),
    "next clock ten minutes behind": Fault(partial(owner_is_killed, clock_ms=-_WRONG_CLOCK_MS)),
    "bit flipped": Fault(bit_flips),
    "folder wiped": Fault(folder_is_wiped),
    "power cut": Fault(power_fails, apart=True, weight=4),
}
