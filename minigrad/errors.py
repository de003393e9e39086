"""Every exception that minigrad raises on purpose.

    MinigradError
    ├── ShapeError         (ValueError)          an array of the wrong shape, rank or length
    ├── LabelError         (ValueError)          targets that do not fit the loss
    ├── RangeError         (ValueError)          a setting outside its range: a rate, a size
    ├── KindError          (TypeError)           the wrong kind of thing: text, not a layer
    ├── ModelError         (ValueError)          a model put together wrongly
    ├── CallOrderError     (RuntimeError)        a call at the wrong time
    │   ├── MissingGradientError                 a step without a new gradient
    │   └── StaleParametersError                 parameters that another model has taken over
    ├── UnknownNameError   (KeyError)            a parameter name that does not exist
    ├── AttachError        (TypeError)           a hook where it would never be called
    ├── HookError          (RuntimeError)        an exception in a hook, its `__cause__`
    ├── BudgetError        (MemoryError)         a record that does not fit its budget
    ├── NonFiniteError     (FloatingPointError)  NaN or infinity in a loss or an update
    ├── NotExactError      (LookupError)         values that the record does not hold exactly
    ├── SharedMemoryError  (ValueError)          two arrays to compare in the same memory
    ├── RunError           (OSError)             a recorded run that cannot be written or read
    ├── DataFileError      (OSError)             a missing, damaged or unwritable file
    ├── GradientError      (AssertionError)      a backward that is not the derivative
    └── MissingExtraError  (ImportError)         an optional library that is not installed

    GradientOverwritten    (UserWarning)         a gradient replaced before any step used it
    OutOfBandWrite         (UserWarning)         a parameter changed other than by an optimizer
    RepeatedForward        (UserWarning)         forward called again before backward
    SettingsChanged        (UserWarning)         a loaded state has other settings
    UntrainedParameter     (UserWarning)         a parameter that belongs to no model

Each is also the built-in exception in brackets, so `except ValueError` works as one would expect.
What `str` gives of them has its control characters escaped: a name or a path in a message may hold
any.
"""

from __future__ import annotations

from minigrad._printable import printable

__all__ = [
    "AttachError",
    "BudgetError",
    "CallOrderError",
    "DataFileError",
    "GradientError",
    "GradientOverwritten",
    "HookError",
    "KindError",
    "LabelError",
    "MinigradError",
    "MissingExtraError",
    "MissingGradientError",
    "ModelError",
    "NonFiniteError",
    "NotExactError",
    "OutOfBandWrite",
    "RangeError",
    "RepeatedForward",
    "RunError",
    "SettingsChanged",
    "ShapeError",
    "SharedMemoryError",
    "StaleParametersError",
    "UnknownNameError",
    "UntrainedParameter",
]


def _message(error: BaseException) -> str:
    """The message of an error or a warning; not KeyError's own, which is in quotes."""
    return printable(BaseException.__str__(error))


class MinigradError(Exception):
    """The base of all errors that minigrad raises on purpose."""

    __str__ = _message


class ShapeError(MinigradError, ValueError):
    """An array has the wrong shape, rank or length."""


class LabelError(MinigradError, ValueError):
    """Targets do not fit the loss: out of range, of a wrong kind, rows that do not sum to 1."""


class RangeError(MinigradError, ValueError):
    """A setting lies outside its range: a rate, a size, a fraction."""


class KindError(MinigradError, TypeError):
    """Something is of the wrong kind: complex numbers, text, two dtypes in one model, no layer."""


class ModelError(MinigradError, ValueError):
    """A model is put together wrongly: a layer used twice, a name that does not exist."""


class CallOrderError(MinigradError, RuntimeError):
    """A call at the wrong time: `backward` before `forward`, an event read after its dispatch."""


class MissingGradientError(CallOrderError):
    """`step()` was called, but no gradient has arrived since the last step."""


class StaleParametersError(CallOrderError):
    """The parameters have moved into another model's memory; this object refers to the old one."""


class UnknownNameError(MinigradError, KeyError):
    """A parameter name that the model or the record does not have.

    The message lists those that it has.
    """


class AttachError(MinigradError, TypeError):
    """A hook was attached where none of its methods would ever be called."""


class HookError(MinigradError, RuntimeError):
    """A hook raised an exception, or returned something. The original exception is the `__cause__`.

    Attributes:
        hook: The hook that failed.
        event: The event that it was given.
        step: The step during which it happened, counted from 0; None where no optimizer takes part.
    """

    def __init__(
        self, message: str, hook: object = None, event: object = None, step: int | None = None
    ) -> None:
        super().__init__(message)
        self.hook: object = hook
        self.event: object = event
        self.step: int | None = step


class BudgetError(MinigradError, MemoryError):
    """A record does not fit its budget."""


class NonFiniteError(MinigradError, FloatingPointError):
    """A loss or an update is NaN or infinite.

    The message names the tensor where the first one appeared.
    """


class NotExactError(MinigradError, LookupError):
    """The record does not hold what is needed for this step's exact values.

    The message names steps that it holds.
    """


class SharedMemoryError(MinigradError, ValueError):
    """Two arrays to compare are the same live memory, so they can never differ."""


class RunError(MinigradError, OSError):
    """A recorded run cannot be written, as on a full disk, or cannot be read: none, or damaged."""


class DataFileError(MinigradError, OSError):
    """A data file is missing, truncated, corrupt or not what it should be."""


class GradientError(MinigradError, AssertionError):
    """A `backward` is not the derivative of its `forward`, or could not be shown to be.

    The message says which.
    """


class MissingExtraError(MinigradError, ImportError):
    """An optional library is not installed; the message names the extra that brings it."""


class OutOfBandWrite(UserWarning):
    """A recorded parameter changed between two steps other than by an optimizer.

    A warning, not an error.
    """

    __str__ = _message


class GradientOverwritten(UserWarning):
    """A backward replaced a gradient before any step had used it; the message names both ways out.

    A warning, not an error.
    """

    __str__ = _message


class RepeatedForward(UserWarning):
    """Forward was called again before backward, so the gradient may be that of other data.

    A warning, not an error.
    """

    __str__ = _message


class SettingsChanged(UserWarning):
    """A loaded state comes from an optimizer of other settings; the message lists them.

    A warning, not an error.
    """

    __str__ = _message


class UntrainedParameter(UserWarning):
    """A parameter gets gradients, but no layer of the model holds it, so nothing trains it.

    A warning, not an error.
    """

    __str__ = _message
