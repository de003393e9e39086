"""Hooks: who may look at a training, the events that they are given, and how they are told."""

from minigrad.hooks.events import Backward, Forward, Step
from minigrad.hooks.fit_events import Epoch, FitBegin, FitEnd
from minigrad.hooks.handle import Handle
from minigrad.hooks.hook import Hook

__all__ = ["Backward", "Epoch", "FitBegin", "FitEnd", "Forward", "Handle", "Hook", "Step"]
