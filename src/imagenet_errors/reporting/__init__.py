"""What joins importing, analysis and plots for report.py."""
