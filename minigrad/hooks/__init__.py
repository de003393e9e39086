"""Hooks: who may look at a training, the events that they are given, and how they are told."""
