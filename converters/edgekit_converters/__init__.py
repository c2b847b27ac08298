"""Turn source models into variants that fit a target."""
