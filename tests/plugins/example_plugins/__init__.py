"""Extensions of Loratory, each in one file, found by the entry points of this package."""
