"""Engines call models. One file is one kind; each has ``async def open_engine(target, *, options…) -> Engine``."""
