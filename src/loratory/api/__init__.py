"""The Python interface: what `import loratory` gives, a file for each noun."""
