"""Stateless conversions between ROS messages and arrays."""
