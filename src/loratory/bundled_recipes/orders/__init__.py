"""Sample data of the orders recipe: messages to a shop, and the order that each holds as JSON."""
