"""Methods, in the survey's order: prompt-based, output-based, model-based. One file is one method."""
