"""Fine-tuning of the text-image model on captions."""
