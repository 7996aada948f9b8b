"""What goes wrong outside the program: kills, full disks, torn and changed files, bad data; and whole runs."""
