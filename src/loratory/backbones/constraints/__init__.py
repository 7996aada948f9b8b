"""What keeps an answer in its contract: grammars, completion of JSON within a budget, automata."""
