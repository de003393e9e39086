"""Hooks: observers only, in order, told of failures, and gone without a trace."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from case_support import sparse
from layer_support import Residual

import minigrad as mg
from minigrad.arrays import Array
from minigrad.errors import CallOrderError, HookError, UnknownNameError
from minigrad.hooks.events import FlatArrays


class Log(mg.Hook):
    """Writes down who was called with what."""

    def __init__(self, log: list[str], label: str = "") -> None:
        self.log, self.label = log, label

    def on_forward(self, event: mg.Forward) -> None:
        self.log.append(f"{self.label}forward {event.name}")

    def on_backward(self, event: mg.Backward) -> None:
        self.log.append(f"{self.label}backward {event.name}")

    def on_step(self, event: mg.Step) -> None:
        self.log.append(f"{self.label}step {event.step}")


def residual(features: int) -> Residual:
    """A composite with an inner chain as a plain attribute."""
    return Residual(mg.Dense(features, features, rng=3), mg.Activation("tanh"))


def build() -> mg.Sequential:
    return mg.Sequential(
        mg.Dense(2, 2, rng=0),
        mg.Sequential(residual(2), mg.Dense(2, 2, rng=1)),
        mg.Activation("relu"),
    )


def one_step(model: mg.Layer, optimizer: mg.Optimizer | None = None) -> None:
    model.backward(model(np.ones((3, 2), np.float32)))
    if optimizer is not None:
        optimizer.step()


FORWARD = ["0", "1.0.inner.0", "1.0.inner.1", "1.0", "1.1", "1", "2"]


# -- 1: observers only ---------------------------------------------------------------------------


def test_what_events_hand_out_is_true() -> None:
    """Inputs, outputs and gradients of each layer are those that went through it."""

    class Check(mg.Hook):
        def on_forward(self, event: mg.Forward) -> None:
            outputs[event.name] = event.output
            expected = {"0": x, "1.0": outputs.get("0"), "1.1": outputs.get("1.0")}.get(event.name)
            assert expected is None or expected.tolist() == event.input.tolist()
            assert event.layer is dict(model.layers())[event.name]
            assert event.training

        def on_backward(self, event: mg.Backward) -> None:
            arrived[event.name] = event.output_grad
            assert outputs[event.name].shape == event.output_grad.shape
            assert (event.input_grad is None) == (event.name == "0")
            if event.input_grad is not None:
                below[event.name] = event.input_grad

    outputs: dict[str, Array] = {}
    arrived: dict[str, Array] = {}
    below: dict[str, Array] = {}
    model, x = build(), np.ones((3, 2), np.float32)
    model.attach(Check())
    output = model(x)
    assert output.tolist() == outputs["2"].tolist()
    model.backward(2 * output)
    assert (2 * output).tolist() == arrived["2"].tolist()
    for above, layer in (("2", "1"), ("1.1", "1.0"), ("1", "0")):
        assert below[above].tolist() == arrived[layer].tolist()
    weight = dict(model.parameters())["0.weight"]
    np.testing.assert_allclose(weight.grad, x.T @ arrived["0"], rtol=1e-6)


def test_events_know_the_mode() -> None:
    """A prediction's events say that they are none of training."""

    class Modes(mg.Hook):
        def on_forward(self, event: mg.Forward) -> None:
            modes.append(event.training)

    modes: list[bool] = []
    model = build()
    model.attach(Modes())
    model(np.ones((1, 2)))
    model.predict(np.ones((1, 2)))
    assert [True] * 7 + [False] * 7 == modes


@pytest.mark.parametrize("method", ["on_forward", "on_backward", "on_step"])
def test_returning_something_is_an_error(method: str) -> None:
    """A hook that returns something thinks that it can change something."""
    hook = type("Returning", (mg.Hook,), {method: lambda self, event: event})()
    model = build()
    optimizer = mg.SGD(model, lr=0.1)
    (optimizer if method == "on_step" else model).attach(hook)
    with pytest.raises(
        HookError, match=rf"Returning failed.*{method} returned .*only observe"
    ) as told:
        one_step(model, optimizer)
    assert isinstance(told.value.__cause__, TypeError)


def test_mappings_of_an_event() -> None:
    """They are mappings by name: a new copy each time, and an unknown name is told those that there
    are.
    """

    class Reads(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            assert event.names == tuple(event.updates) == tuple(event.values) == tuple(event.grads)
            assert len(event.updates) == 6
            assert "0.bias" in event.updates
            assert "bias" not in event.updates
            assert event.values["0.weight"] is not event.values["0.weight"]
            assert event.values["0.weight"].flags.writeable
            with pytest.raises(
                UnknownNameError, match=r"no parameter 'bias'; there are 0\.weight, 0\.bias"
            ):
                event.updates["bias"]
            for thing in (event, event.updates):
                assert "array(" not in repr(thing)
            events.append(event)

    events: list[mg.Step] = []
    model = build()
    optimizer = mg.SGD(model, lr=0.1)
    optimizer.attach(Reads())
    one_step(model, optimizer)
    assert 1 == len(events)
    with pytest.raises(CallOrderError, match="this event is over"):
        events[0].values["0.weight"]
    assert (0, 0.1, "0.weight") == (events[0].step, events[0].lr, events[0].names[0])


def test_events_cannot_be_changed() -> None:
    """An event is frozen."""

    class Writes(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            event.lr = 0  # type: ignore[misc]

    model = build()
    optimizer = mg.SGD(model, lr=0.1)
    optimizer.attach(Writes())
    with pytest.raises(
        HookError, match="AttributeError: property 'lr' of 'Step' object has no setter"
    ):
        one_step(model, optimizer)


def test_nothing_in_an_event_can_be_set() -> None:
    """Neither what it has, nor anything new; its repr shows what it says, and no array."""
    array, flat = np.zeros(3), FlatArrays({}, np.zeros(0), np.zeros(0), np.zeros(0))
    layer = mg.Dense(2, 1, rng=0)
    events = {
        "Forward(name='0', layer=Dense(2, 1), training=True)": mg.Forward(
            "0", layer, True, array, array
        ),
        "Backward(name='0', layer=Dense(2, 1))": mg.Backward("0", layer, array, None),
        "Step(step=3, lr=0.5, clip_factor=1.0, skipped={'1.bias': 'frozen'}, loss=None)": mg.Step(
            3, 0.5, 1.0, {"1.bias": "frozen"}, flat
        ),
        "Epoch(epoch=2, metrics={'loss': 0.25})": mg.Epoch(2, {"loss": 0.25}),
    }
    for expected, event in events.items():
        names = [name for name in dir(event) if not name.startswith("_")]
        assert names
        for name in [*names, "something_new"]:
            with pytest.raises(AttributeError):
                setattr(event, name, 1)
        assert expected == repr(event)


# -- 2: order ------------------------------------------------------------------------------------


def test_layers_come_in_the_order_of_execution() -> None:
    """Inner layers before the one that holds them.

    Backward in reverse; names as in the model that was asked.
    """
    log: list[str] = []
    model = build()
    optimizer = mg.SGD(model, lr=0.1)
    model.attach(Log(log))
    optimizer.attach(Log(log))
    one_step(model, optimizer)
    backward = ["2", "1.1", "1.0.inner.1", "1.0.inner.0", "1.0", "1", "0"]
    assert [
        *(f"forward {name}" for name in FORWARD),
        *(f"backward {name}" for name in backward),
        "step 0",
    ] == log


@pytest.mark.parametrize(
    ("part", "names"),
    [
        (lambda model: model, FORWARD),
        (lambda model: model[1], ["0.inner.0", "0.inner.1", "0", "1"]),
        (lambda model: model[1][0], ["inner.0", "inner.1"]),
        (lambda model: model[1][0].inner, ["0", "1"]),
    ],
    ids=["model", "nested", "composite", "chain in the composite"],
)
def test_names_are_relative_to_where_the_hook_is_attached(
    part: Callable[[Any], mg.Layer], names: list[str]
) -> None:
    """A hook attached to a part is told of that part alone, by its names in it."""
    log: list[str] = []
    model = build()
    part(model).attach(Log(log))
    model(np.ones((1, 2)))
    assert [f"forward {name}" for name in names] == log


def test_hooks_come_in_the_order_of_attachment() -> None:
    """For each event all hooks are called, the first attached first.

    The same one may be attached twice.
    """
    log: list[str] = []
    model = mg.Sequential(mg.Dense(2, 2, rng=0))
    optimizer = mg.SGD(model, lr=0.1)
    a, b = Log(log, "a "), Log(log, "b ")
    for target in (model, optimizer):
        for hook in (b, a, b):
            target.attach(hook)
    one_step(model, optimizer)
    expected = [
        f"{label} {event}" for event in ("forward 0", "backward 0", "step 0") for label in "bab"
    ]
    assert expected == log


def test_a_hook_added_during_a_dispatch_counts_from_the_next() -> None:
    """It is not called for the event that is going on."""

    class Adds(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            if event.step == 0:
                optimizer.attach(Log(log))

    log: list[str] = []
    model = build()
    optimizer = mg.SGD(model, lr=0.1)
    optimizer.attach(Adds())
    one_step(model, optimizer)
    one_step(model, optimizer)
    assert ["step 1"] == log


@pytest.mark.parametrize("when", [0, 1])
def test_a_hook_removed_during_a_dispatch_counts_until_the_next(when: int) -> None:
    """Removing the next hook, or oneself, skips nobody in the event that is going on."""

    class Removes(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            log.append(f"remover step {event.step}")
            if event.step == when:
                for handle in handles:
                    handle.remove()

    log: list[str] = []
    model = build()
    optimizer = mg.SGD(model, lr=0.1)
    handles = [optimizer.attach(hook) for hook in (Removes(), Log(log, "a "), Log(log, "b "))]
    for _ in range(3):
        one_step(model, optimizer)
    expected = [
        f"{label} step {step}" for step in range(when + 1) for label in ("remover", "a", "b")
    ]
    assert expected == log


@pytest.mark.parametrize("when", [0, 1])
def test_a_hook_removed_before_a_step_counts_until_the_next(when: int) -> None:
    """The same for the last word: whoever is removed meanwhile is still asked about this step."""

    class Removes(mg.Hook):
        def before_step(self, event: mg.Step) -> None:
            asked.append(("remover", event.step))
            if event.step == when:
                for handle in handles:
                    handle.remove()

    class Asked(mg.Hook):
        def before_step(self, event: mg.Step) -> None:
            asked.append(("next", event.step))

    asked: list[tuple[str, int]] = []
    model = build()
    optimizer = mg.SGD(model, lr=0.1)
    handles = [optimizer.attach(hook) for hook in (Removes(), Asked())]
    for _ in range(3):
        one_step(model, optimizer)
    assert [(who, step) for step in range(when + 1) for who in ("remover", "next")] == asked


# -- 3: failures ---------------------------------------------------------------------------------


class Fails(mg.Hook):
    """Fails in all that it does."""

    def on_forward(self, event: mg.Forward) -> None:
        raise ZeroDivisionError(f"forward {event.name}")

    def on_backward(self, event: mg.Backward) -> None:
        raise ZeroDivisionError(f"backward {event.name}")

    def on_step(self, event: mg.Step) -> None:
        raise ZeroDivisionError(f"step {event.step}")


def test_a_failure_in_a_step_leaves_the_step_whole() -> None:
    """The values are written, the other hooks called, the gradient used up.

    The error says who, what and when.
    """
    log: list[str] = []
    ends = []
    for failing in (False, True):
        model, fails = build(), Fails()
        optimizer = mg.SGD(model, lr=0.1, momentum=0.9)
        if failing:
            optimizer.attach(fails)
        optimizer.attach(Log(log))
        for step in range(2):
            if not failing:
                one_step(model, optimizer)
                continue
            with pytest.raises(
                HookError, match=f"Fails failed in Step of step {step}: ZeroDivisionError"
            ) as told:
                one_step(model, optimizer)
            assert (fails, step) == (told.value.hook, told.value.step)
            assert isinstance(told.value.event, mg.Step)
            assert isinstance(told.value.__cause__, ZeroDivisionError)
            assert isinstance(told.value, RuntimeError)
            assert step + 1 == optimizer.step_count
            with pytest.raises(mg.errors.MissingGradientError):
                optimizer.step()
        ends.append(mg.ParameterVector.of(model).values.tobytes())
    assert ends[0] == ends[1]
    assert ["step 0", "step 1"] * 2 == log


@pytest.mark.frames
@pytest.mark.parametrize(
    "part",
    [lambda model: model, lambda model: model[1], lambda model: model[1][0]],
    ids=["model", "nested", "composite"],
)
def test_a_failure_in_a_pass_is_raised_when_the_pass_is_complete(
    part: Callable[[Any], mg.Layer],
) -> None:
    """All layers have run and all other hooks were told.

    The gradients are written, and the next pass is clean.
    """
    log: list[str] = []
    model = build()
    one_step(model)
    grads = mg.ParameterVector.of(model).grads.tobytes()
    mg.ParameterVector.of(model).grads.fill(0)
    handle = part(model).attach(Fails())
    model.attach(Log(log))
    with pytest.raises(HookError, match="ZeroDivisionError: forward"):
        model(np.ones((3, 2), np.float32))
    assert [f"forward {name}" for name in FORWARD] == log
    handle.remove()
    output = model(np.ones((3, 2), np.float32))
    handle = part(model).attach(Fails())
    with pytest.raises(
        HookError, match=r"Fails failed in Backward of layer '.*': ZeroDivisionError: backward"
    ):
        model.backward(output)
    handle.remove()
    assert grads == mg.ParameterVector.of(model).grads.tobytes()
    one_step(model)


def test_a_failure_in_an_inner_model_that_runs_alone_is_raised_there() -> None:
    """A hook attached to the whole is told of its part when that runs by itself, and so is its
    failure: at once.
    """
    model = build()
    model.attach(Fails())
    with pytest.raises(HookError, match=r"forward 1\.0\.inner\.0"):
        model[1](np.ones((1, 2), np.float32))


def test_a_failure_before_another_error_does_not_come_up_later() -> None:
    """When the pass breaks off for another reason, the next pass, which is fine, raises nothing."""

    class FailsOnce(mg.Hook):
        def on_forward(self, event: mg.Forward) -> None:
            if not failed:
                failed.append(event.name)
                raise ZeroDivisionError

    failed: list[str] = []
    model = mg.Sequential(mg.Activation("relu"), mg.Dense(2, 2, rng=0))
    model.attach(FailsOnce())
    with pytest.raises(mg.MinigradError):
        model(np.ones((1, 3)))
    model(np.ones((1, 2)))
    assert ["0"] == failed


def test_several_failures_are_counted() -> None:
    """The first is raised, and the message says how many more there were."""
    model = mg.Sequential(mg.Dense(2, 2, rng=0), mg.Activation("relu"))
    model.attach(Fails())
    model.attach(Fails())
    with pytest.raises(HookError, match=r"forward 0 \(3 more failures"):
        model(np.ones((1, 2)))


@pytest.mark.frames
def test_a_failure_is_raised_once() -> None:
    """It does not come up again in a later pass."""

    class FailsOnce(mg.Hook):
        def on_forward(self, event: mg.Forward) -> None:
            if not failed:
                failed.append(event.name)
                raise ZeroDivisionError

    failed: list[str] = []
    model = build()
    model.attach(FailsOnce())
    with pytest.raises(HookError):
        model(np.ones((1, 2)))
    model(np.ones((1, 2)))
    assert ["0"] == failed


@pytest.mark.parametrize("alone", [True, False])
@pytest.mark.parametrize("place", ["model", "optimizer"])
def test_a_hook_that_removes_itself_and_fails_is_told(alone: bool, place: str) -> None:
    """An exception is not lost because the hook is gone by the time it is raised."""

    class Leaves(mg.Hook):
        def on_forward(self, event: mg.Forward) -> None:
            self.leave()

        def on_step(self, event: mg.Step) -> None:
            self.leave()

        def leave(self) -> None:
            handle.remove()
            raise ZeroDivisionError

    model = mg.Sequential(mg.Dense(2, 2, rng=0))
    optimizer = mg.SGD(model, lr=0.1)
    target = model if place == "model" else optimizer
    handle = target.attach(Leaves())
    if not alone:
        target.attach(Log([]))
    with pytest.raises(HookError, match="ZeroDivisionError"):
        one_step(model, optimizer)


def test_the_users_interrupt_is_not_wrapped() -> None:
    """Control-C in a hook is Control-C."""

    class Interrupts(mg.Hook):
        def on_step(self, event: mg.Step) -> None:
            raise KeyboardInterrupt

    model = build()
    optimizer = mg.SGD(model, lr=0.1)
    optimizer.attach(Interrupts())
    with pytest.raises(KeyboardInterrupt):
        one_step(model, optimizer)


# -- 4: handles ----------------------------------------------------------------------------------


def test_a_handle_removes_its_own_attachment_only() -> None:
    """The same hook attached twice is there once more; removing again does nothing."""
    log: list[str] = []
    model, hook = mg.Sequential(mg.Dense(2, 2, rng=0)), Log([])
    hook.log = log
    first, second = model.attach(hook), model.attach(hook)
    for _ in range(3):
        first.remove()
    model(np.ones((1, 2)))
    assert ["forward 0"] == log
    second.remove()
    model(np.ones((1, 2)))
    assert 1 == len(log)


def test_a_handle_is_a_context_manager() -> None:
    """The hook is gone at the end of the `with`, also when an exception passes.

    The exception passes.
    """
    log: list[str] = []
    model = build()
    optimizer = mg.SGD(model, lr=0.1)

    def interrupted() -> None:
        with model.attach(Log(log)) as handle, optimizer.attach(Log(log)):
            assert isinstance(handle, mg.Handle)
            handles.append(handle)
            one_step(model, optimizer)
            raise KeyError

    handles: list[mg.Handle] = []
    with pytest.raises(KeyError):
        interrupted()
    count = len(log)
    one_step(model, optimizer)
    handles[0].remove()
    assert count == len(log) == 2 * 7 + 1


def reachable(*things: object) -> int:
    """How many objects hang on these."""
    seen: dict[int, object] = {}
    pending = list(things)
    while pending:
        thing = pending.pop()
        if id(thing) not in seen and not isinstance(thing, type) and not callable(thing):
            seen[id(thing)] = thing
            pending += gc.get_referents(thing)
    return len(seen)


@pytest.mark.slow
def test_ten_thousand_attachments_leave_nothing_behind() -> None:
    """Neither the model nor the optimizer grows."""
    model = mg.Sequential(mg.Dense(2, 2, rng=0), mg.Sequential(mg.Dense(2, 2, rng=1)))
    optimizer = mg.SGD(model, lr=0.1)
    one_step(model, optimizer)
    before = reachable(vars(model), vars(model[1]), vars(optimizer))
    for _ in range(10_000):
        model.attach(Log([])).remove()
        with optimizer.attach(Log([])):
            pass
    assert before == reachable(vars(model), vars(model[1]), vars(optimizer))


@pytest.mark.slow
@sparse(pytest.mark.parametrize("failing", [False, True]), every=2)
def test_nothing_keeps_a_model_alive(failing: bool) -> None:
    """Handles and hooks may outlive the model that they were attached to, after failures as
    well.
    """
    hook: mg.Hook = Fails() if failing else Log([])
    model = build()
    optimizer = mg.SGD(model, lr=0.1)
    handles = [model.attach(hook), optimizer.attach(hook)]
    if failing:
        with pytest.raises(HookError):
            one_step(model, optimizer)
    else:
        one_step(model, optimizer)
    dead: list[weakref.ref[Any]] = [
        weakref.ref(model),
        weakref.ref(model[1]),
        weakref.ref(optimizer),
    ]
    del model, optimizer
    gc.collect()
    assert [None, None, None] == [ref() for ref in dead]
    for handle in handles:
        handle.remove()


def test_copies_have_no_hooks() -> None:
    """A copied model is watched by nobody."""
    log: list[str] = []
    model = build()
    model.attach(Log(log))
    copy.deepcopy(model)(np.ones((1, 2)))
    assert [] == log


# -- 5: what is not watched ----------------------------------------------------------------------


def test_only_the_methods_that_were_overridden_are_called() -> None:
    """Methods put on the instance count as well; the others cost nothing."""
    hook = mg.Hook()
    log: list[str] = []
    hook.on_forward = lambda event: log.append(event.name)  # type: ignore[method-assign]
    model = mg.Sequential(mg.Dense(2, 2, rng=0))
    model.attach(hook)
    one_step(model)
    assert ["0"] == log


def test_the_input_gradient_that_nobody_needs_is_not_made_for_a_hook() -> None:
    """Watching does not change what is computed: the first layer's input gradient stays None."""

    class Keeps(mg.Hook):
        def on_backward(self, event: mg.Backward) -> None:
            kept[event.name] = event.input_grad is not None

    kept: dict[str, bool] = {}
    model = mg.Sequential(mg.Activation("tanh"), mg.Dense(2, 2, rng=0), mg.Dense(2, 2, rng=1))
    model.attach(Keeps())
    one_step(model)
    assert {"2": True, "1": False} == kept


def test_the_error_of_a_pass_is_not_replaced_by_that_of_a_hook() -> None:
    """Where a layer fails after a hook has, the caller is told of the layer."""

    class Fails(mg.Hook):
        def on_forward(self, event: mg.Forward) -> None:
            raise ZeroDivisionError

    class Broken(mg.Layer):
        def forward(self, x: Array) -> Array:
            raise KeyError("the layer")

        def backward(self, grad: Array) -> Array:
            return grad

    model = mg.Sequential(mg.Dense(2, 2, rng=0), Broken())
    model.attach(Fails())
    with pytest.raises(KeyError, match="the layer"):
        model(np.ones((1, 2), np.float32))


def test_two_failures_are_counted() -> None:
    """The first is told, and that there is another."""

    class Fails(mg.Hook):
        def on_forward(self, event: mg.Forward) -> None:
            raise ZeroDivisionError

    model = mg.Sequential(mg.Dense(2, 2, rng=0))
    model.attach(Fails())
    model.attach(Fails())
    with pytest.raises(HookError, match=r"\(1 more failure in hooks\)"):
        model(np.ones((1, 2), np.float32))
