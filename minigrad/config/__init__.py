"""`show_config`: what this machine computes with, and what would make it faster."""

from minigrad.config.show import config, show_config

__all__ = ["config", "show_config"]
