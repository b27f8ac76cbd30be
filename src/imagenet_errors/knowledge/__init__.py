"""What is known about classes and images, models aside."""
