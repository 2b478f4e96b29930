"""Taut: the same answers from fewer thinking tokens.

The shortest useful program::

    import asyncio, taut
    from taut.methods.prompt_based.concise import Concise

    engine = asyncio.run(...)  # see README

Names are imported from their own modules; this file stays empty so that ``import taut`` costs nothing.
"""

__version__ = "0.1.0"
