"""What is alive when: bytes and costs worked out by hand."""

from funcgrad.budget import Pull, Run, Schedule, simulate


def chain(sizes, costs):
    """x0 is the input; run i reads value i - 1 and writes value i; its pull reads both and hands the cotangent on."""
    n = len(sizes)
    runs = tuple(Run((i - 1,) if i else (), (i,), costs[i]) for i in range(n))
    pulls = tuple(Pull((i - 1, i) if i else (i,), (i,), (i - 1,) if i else ()) for i in range(n))
    return Schedule(tuple(sizes), runs, pulls)


def bytes_of(timeline, kind):
    return [e.bytes for e in timeline.events if e.kind == kind]


def test_all_is_kept():
    # Forward 1, 3, 7, 15 bytes are there. Pull 3 has them all, its own cotangent (8) and gives one of 4: 27; it drops
    # value 3 and its cotangent. Pull 2: values 1 + 2 + 4, cotangents 4 + 2 = 13; pull 1: 3 + 2 + 1 = 6; pull 0: 1 + 1.
    timeline = simulate(chain([1, 2, 4, 8], [1, 1, 1, 1]), range(4))
    assert bytes_of(timeline, "run") == [1, 3, 7, 15]
    assert bytes_of(timeline, "pull") == [27, 13, 6, 2]
    assert timeline.peak == 27
    assert timeline.summit == 4
    assert timeline.overhead == 0
    assert timeline.kept == frozenset(range(4))
    assert set(timeline.alive_at(4)) == {*(("value", v) for v in range(4)), ("cotangent", 3), ("cotangent", 2)}


def test_nothing_is_kept():
    # Forward, a value and the one before it: 1, 3, 6, 12. The seed (8) is there from then on. Pull 3 needs 2 and 3, so
    # all is made again: 8 + 1, + 2, + 4, + 8; then it gives 4: 27.
    timeline = simulate(chain([1, 2, 4, 8], [1, 10, 100, 1000]), ())
    assert bytes_of(timeline, "run") == [1, 3, 6, 12]
    assert bytes_of(timeline, "remake") == [9, 11, 15, 23]
    assert bytes_of(timeline, "pull") == [27, 13, 6, 2]
    assert timeline.overhead == 1111
    assert timeline.remade == ((0, 3), (1, 3), (2, 3), (3, 3))
    assert timeline.kept == frozenset()


def test_pieces_of_a_chain_are_made_one_after_the_other():
    # Nine values of one byte, 2 and 5 and 8 kept. Pull 8 reads 7: 6 and 7 are made from 5; then at pull 6 all it reads
    # is there. Pull 5 reads 4: 3 and 4 from 2. Pull 2 reads 1: 0 and 1 from the input.
    timeline = simulate(chain([1] * 9, [1] * 9), (2, 5, 8))
    assert timeline.remade == ((6, 8), (7, 8), (3, 5), (4, 5), (0, 2), (1, 2))
    assert timeline.overhead == 6
    order = [(e.kind, e.step) for e in timeline.events[9:]]
    assert order[:5] == [("remake", 6), ("remake", 7), ("pull", 8), ("pull", 7), ("pull", 6)]
    # Forward: kept ones behind, the last two: 1, 2, 2, 2, 3, 3, 3, 4, 4. Pull 8: kept 3, made 2, cotangents 2: 7; pull
    # 7 reads 6 and 7: 2, 5 and 6 and 7, two cotangents: 6; pull 6 5.
    assert bytes_of(timeline, "run") == [1, 2, 2, 2, 3, 3, 3, 4, 4]
    assert bytes_of(timeline, "pull") == [7, 6, 5, 6, 5, 4, 5, 4, 2]
    assert bytes_of(timeline, "remake") == [5, 6, 4, 5, 3, 4]


def test_what_is_made_on_the_way_stays_only_for_its_readers():
    # Only the last pull reads anything: value 2. Made again from nothing, 0 goes when 1 is there.
    runs = tuple(Run((i - 1,) if i else (), (i,), 1.0) for i in range(3))
    pulls = (Pull((), (0,), ()), Pull((), (1,), (0,)), Pull((2,), (2,), (1,)))
    timeline = simulate(Schedule((4, 4, 4), runs, pulls), ())
    assert bytes_of(timeline, "remake") == [8, 12, 12]
    assert bytes_of(timeline, "pull") == [12, 8, 4]


def test_a_value_that_two_pieces_read_is_made_once():
    # 1 and 2 read 0; pull 2 needs 2, pull 1 needs 1. Making 2 makes 0, which stays until 1 is made.
    runs = (Run((), (0,), 5.0), Run((0,), (1,), 1.0), Run((0,), (2,), 1.0))
    pulls = (Pull((), (0,), ()), Pull((1,), (1,), (0,)), Pull((2,), (2,), (0,)))
    timeline = simulate(Schedule((1, 1, 1), runs, pulls), ())
    assert timeline.remade == ((0, 2), (2, 2), (1, 1))
    assert timeline.overhead == 7
    assert ("value", 0) in timeline.alive_at(5)  # pull 2, which does not read it
    assert ("value", 0) not in timeline.alive_at(7)


def test_of_two_outputs_one_is_kept():
    # Kept value 0 is made a second time with 1: for that event it is there twice.
    runs = (Run((), (0, 1), 1.0), Run((0, 1), (2,), 1.0))
    pulls = (Pull((), (0, 1), ()), Pull((0, 1), (2,), (0, 1)))
    timeline = simulate(Schedule((10, 3, 1), runs, pulls), (0,))
    assert bytes_of(timeline, "run") == [13, 14]
    assert bytes_of(timeline, "remake") == [1 + 10 + 10 + 3]
    assert bytes_of(timeline, "pull") == [1 + 10 + 3 + 10 + 3, 10 + 3]


def test_what_may_not_run_twice_is_kept():
    runs = (Run((), (0,), 1.0, remakable=False), Run((0,), (1,), 1.0))
    pulls = (None, Pull((0, 1), (1,), ()))
    timeline = simulate(Schedule((1, 1), runs, pulls), ())
    assert timeline.remade == ((1, 1),)
    assert timeline.kept == {0}
    unread = simulate(Schedule((1, 1), runs, (None, Pull((), (1,), ()))), ())
    assert unread.kept == frozenset()
    assert bytes_of(unread, "pull") == [1]


def test_inputs_outputs_workspaces_and_gradients_of_parameters():
    # Value 0 is an input, among the 100 resident bytes. 1 is an output. Its slot is there from the first pull on.
    runs = (Run((0,), (1,), 1.0, workspace=7), Run((1,), (2,), 1.0))
    pulls = (Pull((0,), (1,), (0,), stays=20), Pull((1,), (2,), (1,), stays=30, workspace=2))
    timeline = simulate(Schedule((5, 1, 2), runs, pulls, resident=100, outputs=(1,)), ())
    assert bytes_of(timeline, "run") == [100 + 7 + 1, 100 + 1 + 2]
    assert bytes_of(timeline, "pull") == [100 + 1 + 2 + 1 + 30 + 2, 100 + 1 + 30 + 1 + 5 + 20]
    assert timeline.overhead == 0
