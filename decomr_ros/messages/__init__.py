"""ROS messages to arrays and back. Stateless."""
