"""Sample data of the risk triage recipe: messages to a payments company and their label."""
