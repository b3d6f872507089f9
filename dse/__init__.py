"""Tileformer: search the schedules of an encoder Tiny Transformer for a microcontroller, emit the best as int8 C."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # our matrices are small: threads would only wait for each other

__version__ = "0.1.0"
