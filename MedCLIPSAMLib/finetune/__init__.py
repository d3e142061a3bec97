"""Fine-tuning of a text-image model on image-caption pairs."""
