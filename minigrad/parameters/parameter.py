"""`Parameter`, an array that is learnt, and its gradient."""

from __future__ import annotations

from typing import Any, final

import numpy as np

from minigrad._messages import described
from minigrad._printable import printable
from minigrad._validation import float_array, shaped
from minigrad.arrays import Array, Mask
from minigrad.display.words import in_words
from minigrad.errors import KindError, ShapeError
from minigrad.parameters.arrival import CARRIED_OVER, Arrival
from minigrad.parameters.gradients import Gradients, note_orphan
from minigrad.parameters.live_gradient import LiveGradient, read_only


@final
class Parameter:
    """An array that is learnt, and its gradient.

    Until a model takes it over, a parameter has memory of its own; from then on `value` and `grad`
    are views of the model's flat arrays. Both are live: they show what training does. Keep a copy
    (`parameter.value.copy()`) of what must not change. Assignment writes through, into the same
    memory: `parameter.value = array`.

    Args:
        value: The initial value, copied. Real numbers; float32 and float64 are kept, others become
            float32.
        trainable: Whether optimizers change it; or of each entry, as an array of booleans of the
            value's shape.

    Attributes:
        name: Its name in the model, "0.weight"; empty as long as no model has taken it over.
        arrival: How its gradient has arrived; None if none has since the optimizer's last step. A
            step uses it once.
        owner: The `ParameterVector` that holds it; None as long as no model has taken it over.
        gradients: What knows how the model's gradients arrive; None as long as no model has taken
            it over.
        holds_still: Whether at least one of its entries may not move.

    Raises:
        KindError: The value holds complex numbers, strings or objects; `trainable` is neither a
            bool nor booleans.
        ShapeError: `trainable` has another shape.
    """

    def __init__(self, value: object, trainable: bool | Mask = True) -> None:
        self.name: str = ""
        self.arrival: Arrival | None = None
        self.owner: Any = None
        self.gradients: Gradients | None = None
        self._value: Array = np.array(
            float_array(value, None, "the value of a Parameter"), order="C"
        )
        # None until somebody asks: the vector of a model has memory for it.
        self._grad: Array | None = None
        self._grad_view: LiveGradient | None = None
        self._trainable: bool | Mask
        self.holds_still: bool
        self.trainable = trainable

    @property
    def value(self) -> Array:
        """The live value; assignment writes through, and must have the same shape."""
        return self._value

    @value.setter
    def value(self, value: object) -> None:
        if self.gradients is not None:
            self.gradients.check_open("value", self)
        self._value[...] = shaped(
            value, self.shape, self.dtype, f"the value assigned to {self.called}"
        )

    @property
    def grad(self) -> Array:
        """The live gradient; assignment writes through, and must have the same shape.

        What is assigned is a new gradient. Reading it changes nothing. Writing into it is known as
        well: `grad[0] = 0` outside a backward is an edit by hand.
        """
        if self._grad_view is None:
            self._grad_view = LiveGradient.of(self._memory(), self)
        return self._grad_view

    @grad.setter
    def grad(self, grad: object) -> None:
        if grad is not None and grad is self._grad_view:
            return  # after `parameter.grad *= 2`, which has written already
        new = shaped(grad, self.shape, self.dtype, f"the gradient assigned to {self.called}")
        self.new_grad[...] = new

    @property
    def new_grad(self) -> Array:
        """The gradient's memory, for `backward` to overwrite: `x.T.dot(grad, out=weight.new_grad)`.

        It saves the copy that `weight.grad = x.T @ grad` makes, and is a new gradient in the same
        way. Fill it at once, and do not keep it: what is written later is no gradient that anybody
        knows of.
        """
        running = None if self.gradients is None else self.gradients.running
        if running is not None and self.arrival is None:
            self.arrival = running
        else:
            self._arrive(running)
        return self._memory() if self._grad is None else self._grad

    def written(self, where: Mask, edited: bool) -> None:
        """Somebody has written into `grad`: for the view alone."""
        running = None if self.gradients is None else self.gradients.running
        is_new = self.arrival is None or (running is not None and self.arrival is not running)
        if is_new and not edited:  # the rest is what an earlier step has used
            self._memory()[~where.reshape(self.shape)] = 0
        # Zeros that are written by hand where none has arrived are no gradient.
        if running is not None or self.arrival is not None or (not edited and self._memory().any()):
            self._arrive(running)

    def _memory(self) -> Array:
        if self._grad is None:
            self._grad = np.zeros_like(self._value)
        return self._grad

    def _arrive(self, running: Arrival | None) -> None:
        """Somebody writes the gradient: a backward pass that is running, or else it is by hand."""
        if self.gradients is None:
            note_orphan(self)
            self.arrival = Arrival()
        elif running is None:
            self.gradients.check_open("gradient", self)
            self.arrival = (self.arrival or Arrival()).edited()
        else:
            if self.arrival not in (None, CARRIED_OVER, running):
                self.gradients.overwritten.append(self)
            self.arrival = running

    @property
    def trainable(self) -> bool | Mask:
        """Whether optimizers change it; or of each entry, a read-only array of booleans.

        Assign either.
        """
        return self._trainable

    @trainable.setter
    def trainable(self, trainable: bool | Mask) -> None:
        if isinstance(trainable, bool | np.bool_):
            self._trainable, self.holds_still = bool(trainable), not trainable
            return
        message = (
            f"trainable of {self.called} is {described(trainable)}, expected True, False or an "
            f"array of booleans"
        )
        if not isinstance(trainable, np.ndarray) or trainable.dtype != bool:
            raise KindError(message)
        if trainable.shape != self.shape:
            raise ShapeError(f"{message} of shape {self.shape}")
        whole = bool(trainable.flat[0]) if trainable.size else True
        self._trainable = whole if (trainable == whole).all() else read_only(trainable.copy())
        self.holds_still = self._trainable is not True

    @property
    def frozen_entries(self) -> Mask | None:
        """Which entries may not move, where only some of them may; None where all may, or none."""
        return None if isinstance(self._trainable, bool) else ~self._trainable

    @property
    def moving(self) -> int:
        """How many entries optimizers may change."""
        return (
            self.size * self._trainable
            if isinstance(self._trainable, bool)
            else int(self._trainable.sum())
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of value and gradient."""
        return self._value.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of value and gradient, float32 or float64."""
        return self._value.dtype

    @property
    def size(self) -> int:
        """The number of entries."""
        return self._value.size

    @property
    def called(self) -> str:
        """What errors call it: "parameter '0.weight'"."""
        return f"parameter '{self.name}'" if self.name else f"a Parameter of shape {self.shape}"

    @property
    def frozen_in_words(self) -> str:
        """Whether it is frozen, or how many of its entries are: "3 of 12 entries frozen".

        Empty if none is.
        """
        if self._trainable is True:
            return ""
        entries = self.frozen_entries
        return (
            "frozen"
            if entries is None
            else f"{np.count_nonzero(entries):,} of {self.size:,} entries frozen"
        )

    def __repr__(self) -> str:
        name = f"'{printable(self.name)}', " if self.name else ""
        frozen = f", {self.frozen_in_words}" if self.frozen_in_words else ""
        return f"Parameter({name}{in_words(self._value)}{frozen})"

    def _repr_html_(self) -> str:
        """What a notebook shows: the counts, and the values as a picture."""
        # not at the top: only notebooks need it, and it takes long to load
        from minigrad.display import notebook

        frozen = f"; {self.frozen_in_words}" if self.frozen_in_words else ""
        return notebook.block(
            notebook.title(f"Parameter {self.name}".strip()),
            notebook.line(f"{in_words(self._value)}{frozen}"),
            notebook.amounts(self._value, what="values"),
        )

    def __getstate__(self) -> dict[str, Any]:
        """The vector is not pickled, and of its memory only this parameter's part."""
        return {**vars(self), "owner": None, "gradients": None, "_grad_view": None}

    def __copy__(self) -> Parameter:
        """A copy has memory of its own."""
        copied = Parameter.__new__(Parameter)
        grad = None if self._grad is None else self._grad.copy()
        vars(copied).update(self.__getstate__(), _value=self._value.copy(), _grad=grad)
        return copied

    def __deepcopy__(self, memo: dict[int, Any]) -> Parameter:
        """So that each array is copied once."""
        return self.__copy__()

    def move(self, owner: Any, name: str, value: Array, grad: Array) -> None:
        """Take value and gradient along into a vector's memory: for the vector alone.

        Args:
            owner: The vector.
            name: The name in its model.
            value: The memory of the value.
            grad: The memory of the gradient.
        """
        value[...] = self._value
        grad[...] = 0 if self._grad is None else self._grad
        self.owner, self.name, self.gradients = owner, name, owner.gradients
        self._value, self._grad, self._grad_view = value, grad, None
        if self.arrival is not None:
            self.arrival = CARRIED_OVER

    def cast(self, dtype: np.dtype[Any]) -> None:
        """Leave the vector and go on in another dtype, without a gradient: to check in float64."""
        self.owner, self.name, self.gradients, self.arrival = None, "", None, None
        self._value, self._grad, self._grad_view = self._value.astype(dtype), None, None
