"""Tileformer: search the schedules of an encoder Tiny Transformer for a microcontroller, emit the best as int8 C."""

__version__ = "0.1.0"
