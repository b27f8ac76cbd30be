"""What is known of classes and images, models aside."""
