"""Files, folders and hub ids to rows, a format a file."""
