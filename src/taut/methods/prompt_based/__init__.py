"""Methods that change the question and nothing else ("input-based" in the survey)."""
