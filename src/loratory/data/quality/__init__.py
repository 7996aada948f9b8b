"""What is wrong with data before anything is fitted: label errors, encoding errors, languages, copies."""
