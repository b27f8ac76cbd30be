"""From images to predictions; torch lives here and nowhere else."""
