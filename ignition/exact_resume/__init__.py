"""Whether a run that is killed and resumed is the run that was not: what ``ignition.run --verify-resume`` does."""
