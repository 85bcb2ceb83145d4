"""ROS messages to arrays and back, without any state."""
