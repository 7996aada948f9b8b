"""Extensions of other people: what they need, tried with a package of theirs."""
