"""Breaks a training on purpose, to see what becomes of it: ``python -m ignition.drill recipes/depth.py``.

Without more, a selection of accidents happens to short runs of the recipe (`survival`), and a table says which of them
were survived. With ``--fault`` one fault is put into one whole training (`training_faults`).
"""

from ignition.drill.command import main

__all__ = ["main"]
