"""A peer that computes something else would be a lie: all that are installed reach minigrad's
losses, step for step.
"""

from __future__ import annotations

import os
from dataclasses import replace

import pytest
import worker
from case_support import sparse
from peers import PEERS, Peer, minigrad_loops
from workloads import WORKLOADS, Workload, make_data

EPOCH = 8

TINY = {  # networks and optimizers of the real ones, with few and wide awake entries
    name: replace(workload, sizes=(12, *sizes, 5), batch_size=6, most=6 * EPOCH, lr=lr)
    for name, sizes, lr in (
        ("S", (7,), 0.5),
        ("M", (9,), 0.5),
        ("L", (8, 8), 0.1),
        ("A", (8, 8), 0.01),
    )
    for workload in [WORKLOADS[name]]
}


def losses(peer: Peer, workload: Workload, epochs: int) -> list[float]:
    """The mean loss of each epoch."""
    program = peer.make(workload, *make_data(workload))
    found = []
    for _ in range(epochs):
        program.prepare(EPOCH)
        found.append(program.steps(EPOCH))
    program.close()
    return found


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@sparse(
    pytest.mark.parametrize("name", [name for name, peer in PEERS.items() if peer.trains]),
    pytest.mark.parametrize("workload", TINY),
    every=3,
)
def test_all_peers_compute_the_same(name: str, workload: str) -> None:
    """From the same weights, on the same batches, the losses agree: so forward, backward and update
    do.
    """
    peer = PEERS[name]
    if peer.left_out:
        pytest.skip(peer.left_out)
    if peer.needs not in ("numpy", "minigrad") and "MINIGRAD_ALL_PEERS" not in os.environ:
        pytest.skip(
            "set MINIGRAD_ALL_PEERS=1 to compare with frameworks: they take long to import and to "
            "compile"
        )
    epochs = 1 if name == "sklearn" else 3  # each `fit` of scikit-learn begins its moments anew
    expected = losses(PEERS["minigrad"], TINY[workload], epochs)
    assert pytest.approx(expected, rel=1e-5) == losses(peer, TINY[workload], epochs)
    assert expected[0] < 1.9  # they do learn something


def test_the_losses_tell_peers_apart() -> None:
    """A rate that is wrong by one per cent, or another momentum, is noticed."""
    expected = losses(PEERS["minigrad"], TINY["L"], 1)
    for wrong in (replace(TINY["L"], lr=0.101), replace(TINY["L"], momentum=0.89)):
        assert pytest.approx(expected, rel=1e-5) != losses(PEERS["plain"], wrong, 1)


def test_a_large_record_is_ended_and_a_new_one_begun(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that none reaches its budget.

    The training does not notice, and nothing is left on the disk.
    """
    monkeypatch.setattr(minigrad_loops, "RECORD_BYTES", 10_000)
    workload = TINY["M"]
    model, loss, optimizer, data = minigrad_loops.parts(workload, *make_data(workload))
    records = minigrad_loops.Records(optimizer, loss, data, {"on_disk": True})
    directory = records.directory
    assert directory is not None
    for _ in range(3):
        records.prepare(EPOCH)
        for x, y in data:
            loss.forward(model(x), y)
            model.backward(loss.backward())
            optimizer.step()
    assert 3 == records.count
    assert records.recorder is not None
    assert EPOCH == len(records.recorder.run.steps)
    records.close()
    assert not directory.exists()


def test_what_is_not_installed_is_left_out() -> None:
    """With a word about why."""
    assert "no_such_package is not installed" == Peer("it", "it", "no_such_package").left_out
    assert "" == PEERS["minigrad"].left_out


@pytest.mark.slow
@pytest.mark.parametrize("name", ["products", "fit"])
def test_a_worker_trains_for_about_as_long_as_asked(name: str) -> None:
    """In multiples of the peer's unit, and both clocks tell."""
    program, count = worker.ready(PEERS[name], TINY["S"], 0.01)
    assert 0 == count % program.unit
    wall, processor = worker.timed(program, count)
    assert 0 < wall
    assert 0 < processor
    program.close()


@pytest.mark.parametrize("workload", WORKLOADS.values(), ids=WORKLOADS)
def test_all_batches_are_full(workload: Workload) -> None:
    """So that all peers do the same work in each step."""
    assert 0 == workload.samples % workload.batch_size
    assert workload.most - workload.batch_size < workload.samples <= workload.most
