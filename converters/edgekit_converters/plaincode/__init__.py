"""Classic models as plain code: readers → one small representation → emitters, and a proof that both are the same."""
