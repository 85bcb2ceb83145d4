"""Shared parts of the ROS nodes: lifecycle, threads, QoS, warnings."""
