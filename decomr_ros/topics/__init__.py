"""Topics: their names, their publishers, and subscriptions that suit them."""
