"""The user's own board over ssh: look at it, bring it what it lacks, test and time bundles on it."""
