"""Stop rules: when to end the thinking. Each is a preset of its own, run by the one loop in ``thinking``."""
