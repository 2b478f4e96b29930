"""Length rewards: what a response earns for being right and for being short. Each is a plain function of a group."""
