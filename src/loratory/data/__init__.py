"""From files to a checked, leak-free split: readers -> columns -> examples -> groups -> splits -> quality, store."""
