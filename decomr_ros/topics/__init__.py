"""Topics: their names, their publishers, and subscriptions with a compatible QoS."""
