"""Selection inside trainers that own the loop: Lightning and Hugging Face Transformers."""
