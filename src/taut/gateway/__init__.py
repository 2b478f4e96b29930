"""``taut serve``: any preset between a client and its model, in the client's own protocol, with a receipt.

A request goes through these rooms, one file each::

    app ─> keys (who, how much) ─> wire/<protocol>.read ─> Ask ─> catalog (which preset, which engine)
        ─> budget (what is asked, what is in force, by which mechanism) ─> Grant
        ─> passing    the engine's own model and nothing to change: byte for byte
        └> answering  taut.run.run(…, emit) ─> wire/<protocol>.Writer ─> bytes as they come ─> receipt
    beside it: under_way (the live page, Answer now), telemetry, recorder (traces.jsonl), shadow

`nouns` holds what they hand to each other. Nothing here decides how to think: that is a method's business.
"""
