"""Methods that steer the model while it writes."""
