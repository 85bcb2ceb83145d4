"""What every ROS node of ours shares: lifecycle, threads, QoS, warnings."""
