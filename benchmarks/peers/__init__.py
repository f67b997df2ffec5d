"""What people would use instead, each in the fastest formulations that we found."""
