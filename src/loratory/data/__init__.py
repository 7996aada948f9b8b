"""From files to a checked, leak-free split: readers -> columns -> examples -> splitting -> quality, split files."""
