"""From rollouts to training examples of shorter thinking: one builder a file, each a function without a model."""
